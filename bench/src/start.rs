//! How long a clean start takes.

use serde::Serialize;

use crate::report::print;
use crate::servers::{Embedded, Program};

const STARTS: usize = 5;

#[derive(Clone, Debug, Serialize)]
pub struct StartReport {
    pub median_ms: f64,
    pub slowest_ms: f64,
}

impl StartReport {
    pub fn print(&self) {
        print(&format!(
            "\nstart: {:.0} ms to the first 200 of /healthz (median of {STARTS}), slowest {:.0} ms",
            self.median_ms, self.slowest_ms
        ));
    }
}

/// Starts `sealpost serve` a few times, each on an empty folder.
pub async fn run(program: &Program) -> anyhow::Result<StartReport> {
    let program = program.clone();
    tokio::task::spawn_blocking(move || {
        let mut times = (0..STARTS).map(|_| Embedded::time_to_start(&program)).collect::<Result<Vec<_>, _>>()?;
        times.sort_unstable();
        let ms = |index: usize| times[index].as_secs_f64() * 1000.0;
        Ok(StartReport { median_ms: ms(STARTS / 2), slowest_ms: ms(STARTS - 1) })
    })
    .await?
}
