//! `sealpost openapi`: the committed API description, written or compared.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;

pub(crate) fn write(folder: &Path, check: bool) -> anyhow::Result<ExitCode> {
    let files = [
        ("openapi.json", pretty(&sealpost_gateway::openapi())?),
        ("websocket.json", pretty(&sealpost_gateway::asyncapi())?),
    ];
    if check {
        let mut same = true;
        for (name, wanted) in &files {
            let path = folder.join(name);
            if let Some(difference) = difference(&path, wanted) {
                eprintln!("sealpost: {} {difference}", path.display());
                same = false;
            }
        }
        if !same {
            eprintln!("sealpost: run `sealpost openapi --out {}` and commit what changes", folder.display());
        }
        return Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for (name, text) in &files {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn pretty(description: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(description)? + "\n")
}

fn difference(path: &Path, wanted: &str) -> Option<String> {
    let is = match fs::read_to_string(path) {
        Ok(is) => is,
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    if is == wanted {
        return None;
    }
    let same = is.lines().zip(wanted.lines()).take_while(|(is, wanted)| is == wanted).count();
    let line = |text: &str| text.lines().nth(same).map_or("the end".to_owned(), |line| format!("`{}`", line.trim()));
    Some(format!("differs from line {} on: it has {}, the program says {}", same + 1, line(&is), line(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, "{\n  \"a\": 1\n}\n").unwrap();
        assert_eq!(difference(&path, "{\n  \"a\": 1\n}\n"), None);
        let found = difference(&path, "{\n  \"a\": 2\n}\n").unwrap();
        assert_eq!(found, "differs from line 2 on: it has `\"a\": 1`, the program says `\"a\": 2`");
        assert!(difference(&folder.path().join("b.json"), "").unwrap().starts_with("cannot be read"));
    }
}
