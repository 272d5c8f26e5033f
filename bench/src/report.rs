//! Tables for people on standard output, JSON for programs in a file.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// Standard output carries the result, standard error what happens meanwhile.
pub fn print(text: &str) {
    // A reader that went away, say `head`, is no reason to fail.
    let _ = writeln!(io::stdout(), "{text}");
}

pub fn progress(text: &str) {
    let _ = writeln!(io::stderr(), "bench: {text}");
}

pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(value)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[expect(clippy::cast_precision_loss, reason = "counts and times of a run stay far below 2^52")]
pub fn float(count: u64) -> f64 {
    count as f64
}

/// `part` of `whole`; 0 of nothing.
pub fn per(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Rows of cells as text with aligned columns; the first row is the heading, the first column is aligned to the left.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cell = |(column, cell): (usize, &String)| {
            if column == 0 { format!("{cell:<0$}", widths[0]) } else { format!("{cell:>0$}", widths[column]) }
        };
        row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["figure", "value"], ["a", "1"], ["longer name", "12345.0"]];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(table(&rows), "figure         value\na                  1\nlonger name  12345.0");
    }
}
