//! The figures Sealpost is held to, beside what was measured.

use serde::Serialize;

use crate::dm::DmReport;
use crate::report::table;
use crate::suite::StackReport;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
    let mut rows = vec![
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
    for (figure, dm) in [("50x16 faults", busy), ("1x1 faults", single), ("500x1 faults", wide)] {
        rows.push((figure, Bound::AtMost(0.0), faults(dm)));
    }
    rows.into_iter().map(|(figure, bound, measured)| Check::new(stack, figure, bound, measured)).collect()
}

/// NATS and Postgres do not see the clients' connections; what they keep in memory meanwhile is noise.
fn is_sealpost(process: &str) -> bool {
    !["nats-server", "postgres"].contains(&process)
}

pub fn print(checks: &[Check]) -> String {
    let mut rows = vec![["figure", "stack", "target", "measured", ""].map(str::to_owned).to_vec()];
    for check in checks {
        let stack = if check.stack == Stack::Embedded { "embedded" } else { "cluster" };
        let digits = |value: f64| if value >= 100.0 { 0 } else { 3 };
        let measured = check.measured.map_or("failed".to_owned(), |value| format!("{value:.0$}", digits(value)));
        let verdict = if check.ok { "ok" } else { "MISS" };
        rows.push([check.figure, stack, &check.target, &measured, verdict].map(str::to_owned).to_vec());
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
        assert_eq!(checks.len(), 11);
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
}
