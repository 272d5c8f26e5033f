//! What a run has to say: text for people, JSON for programs, a picture.

mod picture;
mod recovery;
mod text;
mod total;

use std::path::Path;

use serde_json::json;

use crate::run::Outcome;

pub use recovery::{Recovery, recoveries};
pub use total::Total;

/// Writes verdict, text and picture beside the history; the text.
pub fn write(outcome: &Outcome) -> std::io::Result<String> {
    let request = &outcome.request;
    let name = request.name();
    let path = |end: &str| request.folder.join(format!("{name}.{end}"));
    let recoveries = recoveries(&outcome.history);
    let text = text::render(outcome, &recoveries);
    std::fs::write(path("report.txt"), &text)?;
    std::fs::write(path("latency.svg"), picture::render(&outcome.history))?;
    let verdict = json!({
        "seed": request.seed,
        "stack": format!("{:?}", request.form),
        "brokers": request.brokers,
        "seconds": request.duration.as_secs(),
        "holds": outcome.verdict.holds(),
        "verdict": outcome.verdict,
        "kills": outcome.kills,
        "faults": outcome.schedule.faults(),
        "skipped": outcome.skipped,
        "recovery_ms": recoveries,
    });
    append(&request.folder.join("verdicts.jsonl"), &verdict.to_string())?;
    Ok(text)
}

/// Writes what all runs so far came to.
pub fn write_total(folder: &Path, total: &Total) -> std::io::Result<()> {
    std::fs::write(folder.join("total.json"), serde_json::to_string_pretty(total)?)
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::options().create(true).append(true).open(path)?;
    writeln!(file, "{line}")
}
