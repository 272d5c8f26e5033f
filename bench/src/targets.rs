//! The figures Sealpost is held to, beside what was measured.

use serde::{Deserialize, Serialize};

use crate::accounts::SignInReport;
use crate::baseline::Baseline;
use crate::dm::DmReport;
use crate::report::{float, table};
use crate::search::SearchReport;
use crate::suite::StackReport;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stack {
    Embedded,
    Cluster,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// One figure of the table. `measured` is empty if the scenario failed.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub stack: Stack,
    pub figure: &'static str,
    pub target: String,
    pub measured: Option<f64>,
    pub ok: bool,
}

impl Check {
    fn new(stack: Stack, figure: &'static str, bound: Bound, measured: Option<f64>) -> Self {
        let (target, ok) = match bound {
            Bound::AtLeast(limit) => (format!(">= {limit}"), measured.is_some_and(|value| value >= limit)),
            Bound::AtMost(limit) => (format!("<= {limit}"), measured.is_some_and(|value| value <= limit)),
        };
        Self { stack, figure, target, measured, ok }
    }
}

pub fn check(stack: Stack, report: &StackReport) -> Vec<Check> {
    let embedded = stack == Stack::Embedded;
    let choose = |for_embedded: f64, for_cluster: f64| Bound::AtMost(if embedded { for_embedded } else { for_cluster });
    let of = |dm: &Option<DmReport>, value: fn(&DmReport) -> f64| dm.as_ref().map(value);
    let (busy, single, wide) = (&report.busy, &report.single, &report.wide);
    let faults = |dm: &Option<DmReport>| dm.as_ref().map(|dm| if dm.is_faultless() { 0.0 } else { 1.0 });
    let mut rows: Vec<Row> = vec![
        ("50x16 delivered/s", Bound::AtLeast(20_000.0), of(busy, |dm| dm.delivered_per_second)),
        ("50x16 stored/s", Bound::AtLeast(20_000.0), of(busy, |dm| dm.stored_per_second)),
        ("50x16 CPU s of all servers per 1,000", choose(0.06, 0.08), of(busy, |dm| dm.server_cpu_seconds_per_1000)),
        ("1x1 send -> delivery p50, ms", choose(0.3, 0.5), of(single, |dm| dm.delivery_ms.p50)),
        ("1x1 send -> delivery p99, ms", choose(1.0, 2.0), of(single, |dm| dm.delivery_ms.p99)),
        ("1x1 send -> stored ack p50, ms", Bound::AtMost(1.5), of(single, |dm| dm.stored_ms.p50)),
        ("500x1 send -> delivery p99, ms", Bound::AtMost(50.0), of(wide, |dm| dm.delivery_ms.p99)),
        (
            "idle connection, KiB",
            Bound::AtMost(15.0),
            report.idle.as_ref().map(|idle| idle.kib_per_connection(is_sealpost)),
        ),
    ];
    if embedded {
        rows.push(("clean start, ms", Bound::AtMost(300.0), report.start.as_ref().map(|start| start.median_ms)));
    }
    if !embedded {
        rows.extend(of_the_cluster(report));
    }
    for (figure, dm) in [("50x16 faults", busy), ("1x1 faults", single), ("500x1 faults", wide)] {
        rows.push((figure, Bound::AtMost(0.0), faults(dm)));
    }
    rows.into_iter().map(|(figure, bound, measured)| Check::new(stack, figure, bound, measured)).collect()
}

type Row = (&'static str, Bound, Option<f64>);

fn of_the_cluster(report: &StackReport) -> [Row; 10] {
    let StackReport { conversations, room, resume, history, search, sign_in, .. } = report;
    let slowest = |search: &SearchReport| search.searches.iter().map(|one| one.latency.p99).fold(0.0, f64::max);
    let peak = |sign_in: &SignInReport| {
        let gateway = sign_in.peak_memory_mib.iter().find(|(name, _)| name == "gateway");
        gateway.map(|(_, mib)| *mib)
    };
    [
        (
            "GET /api/conversations (20) /s",
            Bound::AtLeast(2_000.0),
            conversations.as_ref().map(|list| list.requests_per_second),
        ),
        ("room of 1000, pushed frames/s", Bound::AtLeast(250_000.0), room.as_ref().map(|room| room.pushed_per_second)),
        ("room of 1000, 20/s, to all p99, ms", Bound::AtMost(50.0), room.as_ref().map(|room| room.to_all.p99)),
        ("room of 1000, faults", Bound::AtMost(0.0), room.as_ref().map(|room| float(room.faults))),
        ("resume, 1000 x 100 events, s", Bound::AtMost(3.0), resume.as_ref().map(|resume| resume.seconds)),
        ("history, pages of 50 /s", Bound::AtLeast(2_500.0), history.as_ref().map(|history| history.pages_per_second)),
        ("history at half of that, p99, ms", Bound::AtMost(10.0), history.as_ref().map(|history| history.at_half.p99)),
        ("search, slowest kind, p99, ms", Bound::AtMost(50.0), search.as_ref().map(slowest)),
        (
            "sign-in, known and unknown, p50 apart, ms",
            Bound::AtMost(1.0),
            sign_in.as_ref().map(|sign_in| sign_in.difference_p50_ms),
        ),
        ("200 sign-ins at once, gateway's peak, MiB", Bound::AtMost(600.0), sign_in.as_ref().and_then(peak)),
    ]
}

/// NATS and Postgres do not see the clients' connections; what they keep in memory meanwhile is noise.
fn is_sealpost(process: &str) -> bool {
    !["nats-server", "postgres"].contains(&process)
}

/// With the figures of `baseline` beside them, and what each is of that.
pub fn print(checks: &[Check], baseline: Option<&Baseline>) -> String {
    let mut heading = ["figure", "stack", "target", "measured", ""].map(str::to_owned).to_vec();
    if let Some(baseline) = baseline {
        heading.extend([format!("in {}", baseline.version), "ratio".to_owned()]);
    }
    let mut rows = vec![heading];
    let digits = |value: f64| format!("{value:.0$}", if value >= 100.0 { 0 } else { 3 });
    for check in checks {
        let stack = if check.stack == Stack::Embedded { "embedded" } else { "cluster" };
        let measured = check.measured.map_or("failed".to_owned(), digits);
        let verdict = if check.ok { "ok" } else { "MISS" };
        let mut row = [check.figure, stack, &check.target, &measured, verdict].map(str::to_owned).to_vec();
        if let Some(before) = baseline.and_then(|baseline| baseline.of(check)) {
            let ratio = check.measured.filter(|_| before > 0.0).map(|measured| format!("{:.2}", measured / before));
            row.extend([digits(before), ratio.unwrap_or_default()]);
        }
        rows.push(row);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::start::StartReport;

    #[test]
    fn what_was_not_measured_is_a_miss() {
        let checks = check(Stack::Cluster, &StackReport::default());
        assert_eq!(checks.len(), 21);
        assert!(checks.iter().all(|check| !check.ok && check.measured.is_none()));
    }

    #[test]
    fn the_bound_itself_is_ok() {
        let start = |median_ms| {
            let start = Some(StartReport { median_ms, slowest_ms: 900.0 });
            check(Stack::Embedded, &StackReport { start, ..StackReport::default() })
        };
        let ok = |checks: Vec<Check>| checks.iter().filter(|check| check.ok).count();
        assert_eq!((ok(start(300.0)), ok(start(300.1))), (1, 0));
    }

    #[test]
    fn the_last_release_stands_beside() {
        let start = Some(StartReport { median_ms: 150.0, slowest_ms: 900.0 });
        let checks = check(Stack::Embedded, &StackReport { start, ..StackReport::default() });
        let json = r#"{"version":"1.2.3","cores":2,"checks":[
            {"stack":"embedded","figure":"clean start, ms","target":"","measured":100.0,"ok":true},
            {"stack":"cluster","figure":"50x16 faults","target":"","measured":null,"ok":false}]}"#;
        let table = print(&checks, Some(&serde_json::from_str(json).unwrap()));
        assert!(table.lines().next().unwrap().ends_with("in 1.2.3  ratio"), "{table}");
        let line = table.lines().find(|line| line.starts_with("clean start")).unwrap();
        let cells: Vec<_> = line.split_whitespace().skip(6).collect();
        assert_eq!(cells, ["150", "ok", "100", "1.50"], "{table}");
    }
}
