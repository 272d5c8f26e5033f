//! Latency over time as an SVG picture, with the faults marked.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use crate::history::{Answer, Call, Entry, OpId, What};

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 30.0;
/// The scale is logarithmic, from 1 ms to this.
const DECADES: f64 = 5.0;

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a run are far below 2^52")]
pub fn render(history: &[Entry]) -> String {
    let end = history.last().map_or(1, |entry| entry.at).max(1) as f64;
    let x = |at: u64| LEFT + (WIDTH - LEFT) * at as f64 / end;
    let y = |ms: f64| TOP + (HEIGHT - TOP - 30.0) * (1.0 - ms.max(1.0).log10().min(DECADES) / DECADES);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"16\">From sending to «stored», each second: median (line) and slowest (dots); faults in red</text>\n"
    );
    for (row, (fault, from, to)) in (0i32..).zip(faults(history)) {
        let (left, width) = (x(from), (x(to) - x(from)).max(1.5));
        let place = TOP + 10.0 + f64::from(row % 6) * 12.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"red\" opacity=\"0.12\"/><text x=\"{left:.1}\" y=\"{place:.1}\" fill=\"darkred\">{fault}</text>",
            HEIGHT - TOP - 30.0
        );
    }
    for decade in 0..=5 {
        let ms = 10f64.powi(decade);
        let label = if decade < 3 { format!("{ms} ms") } else { format!("{} s", ms / 1000.0) };
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#ddd\"/><text x=\"4\" y=\"{0:.1}\">{label}</text>",
            y(ms)
        );
    }
    let mut line = String::new();
    for (second, mut latencies) in latencies(history) {
        latencies.sort_unstable();
        let (median, slowest) = (latencies[latencies.len() / 2], latencies[latencies.len() - 1]);
        let left = x(second * 1_000_000 + 500_000);
        let _ = write!(line, "{left:.1},{:.1} ", y(median as f64 / 1000.0));
        let _ = writeln!(
            svg,
            "<circle cx=\"{left:.1}\" cy=\"{:.1}\" r=\"1.6\" fill=\"#36c\"/>",
            y(slowest as f64 / 1000.0)
        );
    }
    let _ = writeln!(svg, "<polyline points=\"{line}\" fill=\"none\" stroke=\"#036\" stroke-width=\"1.2\"/>");
    for second in (0..=history.last().map_or(0, |entry| entry.at / 1_000_000)).step_by(30) {
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{second} s</text>", x(second * 1_000_000), HEIGHT - 10.0);
    }
    svg + "</svg>\n"
}

fn faults(history: &[Entry]) -> Vec<(String, u64, u64)> {
    let mut open: HashMap<(&str, &str), u64> = HashMap::new();
    let mut spans = Vec::new();
    for Entry { at, what } in history {
        match what {
            What::FaultStart { fault, target, .. } => _ = open.insert((fault, target), *at),
            What::FaultStop { fault, target } => {
                if let Some(from) = open.remove(&(fault.as_str(), target.as_str())) {
                    spans.push((fault.clone(), from, *at));
                }
            }
            _ => {}
        }
    }
    spans
}

/// Microseconds from sending to the first «stored», by the second in which it was sent.
fn latencies(history: &[Entry]) -> BTreeMap<u64, Vec<u64>> {
    let mut sent: HashMap<OpId, u64> = HashMap::new();
    let mut latencies: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for Entry { at, what } in history {
        match what {
            What::Invoke { op, call: Call::Send { .. }, .. } => _ = sent.insert(*op, *at),
            What::Ok { op, answer: Answer::Sent { stored: true, .. } } => {
                if let Some(from) = sent.remove(op) {
                    latencies.entry(from / 1_000_000).or_default().push(at - from);
                }
            }
            _ => {}
        }
    }
    latencies
}
