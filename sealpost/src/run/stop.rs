//! The two phases of a stop.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Connections that do not go use up the gateway's time; the workers behind it still finish their batch.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// Cancelled by SIGINT and SIGTERM: the soft token at the first one, the hard token at the second, or when the soft phase has
/// taken its time.
#[derive(Clone)]
pub(crate) struct Stop {
    pub soft: CancellationToken,
    pub hard: CancellationToken,
}

impl Stop {
    /// From now on signals no longer kill the process. `soft_phase` is the gateway's or the worker's own time; what is finished
    /// behind a gateway gets some more.
    pub fn on_signals(soft_phase: Duration) -> anyhow::Result<Self> {
        let stop = Self { soft: CancellationToken::new(), hard: CancellationToken::new() };
        let signals = Signals {
            interrupt: signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?,
            terminate: signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?,
        };
        tokio::spawn(stop.clone().watch(signals, soft_phase));
        Ok(stop)
    }

    /// Starts the soft phase.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    async fn watch(self, mut signals: Signals, soft_phase: Duration) {
        tokio::select! {
            () = signals.next() => tracing::info!("stopping; a second signal stops at once"),
            () = self.soft.cancelled() => {}
        }
        self.soft.cancel();
        tokio::select! {
            () = signals.next() => tracing::warn!("stopping at once"),
            () = tokio::time::sleep(soft_phase + AFTERWARDS) => tracing::warn!("not everything was finished in time; stopping now"),
            () = self.hard.cancelled() => {}
        }
        self.hard.cancel();
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
