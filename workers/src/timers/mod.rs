//! The timers worker: what happens because a moment has come.
//!
//! [`scheduled`]: messages that are to be sent at a time. Promised:
//! - each is sent once, however many workers there are and whenever they die, and never before its time;
//! - what was missed while no worker ran is sent at once when one does;
//! - what is refused is kept with the reason, and keeps nothing else waiting;
//! - a worker sleeps until something is due: nothing is polled busily.
//!
//! [`expiry`]: messages that disappear. Promised: their content goes, with that of their edits and reactions, and then their keys; late only by as
//! much as no worker runs.
//!
//! [`retention`]: messages that are older than they are kept. Promised: their content goes within some hours, in portions, and their numbers stay.
//!
//! `tests/workers/scheduled.rs`, `expiry.rs` and `retention.rs` keep these, on SQLite and on Postgres. Any number of workers share the work without a leader, since each
//! step can be repeated and rows are claimed.

mod alarm;
mod config;
mod expiry;
mod retention;
mod scheduled;

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use sealpost_bus::Live;
use sealpost_lane::Lanes;
use sealpost_schema::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

pub use config::TimersConfig;

/// Runs until `stop`: then it finishes what it holds and returns. Failures of the log and of the database are waited out. `retention_days`: what
/// the server keeps of every conversation.
pub async fn run(
    lanes: Lanes,
    live: Arc<dyn Live>,
    db: DatabaseConnection,
    config: TimersConfig,
    retention_days: Option<u32>,
    clock: Clock,
    stop: CancellationToken,
) {
    let destroyer = expiry::Destroyer { db: db.clone(), config: config.clone(), clock: clock.clone() };
    let (days, of_config, of_clock) = (retention_days, config.clone(), clock.clone());
    let keeper = retention::Keeper { db: db.clone(), config: of_config, clock: of_clock, days };
    // Side by side: nothing that takes long keeps a message waiting.
    tokio::join!(
        scheduled::run(lanes, live, db, config, clock, stop.clone()),
        expiry::run(destroyer, stop.clone()),
        retention::run(keeper, stop),
    );
}

/// Between two looks at what is due, at least.
const MIN_PAUSE: Duration = Duration::from_millis(20);

fn millis_until(now: Timestamp, moment: Timestamp) -> u64 {
    u64::try_from(moment.millis().saturating_sub(now.millis())).unwrap_or(0)
}

/// Under the name of a gauge: since when what is due waits.
fn tell_late(gauge: &'static str, millis: i64) {
    #[expect(clippy::cast_precision_loss, reason = "a delay is far below 2^52 ms")]
    metrics::gauge!(gauge).set(millis as f64 / 1000.0);
}
