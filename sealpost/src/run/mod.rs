//! Long-running commands: what is started, in which order, and how it ends.
//!
//! A stop has two phases (`stop.rs`): soft, in which everything finishes what it has begun, and hard. The order matters: first
//! the gateway, so that no new work comes; then the workers, whose notices complete the gateway's waiting sends; then the
//! lanes; then the log and the store.

pub(crate) mod cluster;
pub(crate) mod database;
mod folder;
mod missing;
mod monitor;
mod serve;
mod stop;
mod webhooks;
mod worker;
mod workers;

pub(crate) use folder::Folder;
pub(crate) use missing::Missing;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use sealpost_gateway::{Gateway, GatewayParts};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::cli::WorkerKind;
use crate::config::Config;
use crate::telemetry;

/// After the hard stop nothing has a reason to go on for longer.
const HARD_LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("sealpost")
        .build()
        .context("the runtime could not be started")?;
    let result = runtime.block_on(work);
    // Blocking work that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

pub(crate) fn serve(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::start_logs(&config.log)?;
    block_on(serve::run(config))
}

pub(crate) fn gateway(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::start_logs(&config.log)?;
    block_on(cluster::gateway(config))
}

pub(crate) fn worker(kind: WorkerKind, config: Config) -> anyhow::Result<ExitCode> {
    telemetry::start_logs(&config.log)?;
    block_on(worker::run(kind, config))
}

/// `key`: which setting to change when the address is taken.
async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}: stop what does, or change {key}"))
}

/// Waits for the last tasks. `false`: some did not end.
async fn ended(tasks: &TaskTracker) -> bool {
    tasks.close();
    if tokio::time::timeout(HARD_LIMIT, tasks.wait()).await.is_err() {
        tracing::error!(tasks = tasks.len(), "some tasks did not end");
        return false;
    }
    true
}

/// Runs a gateway through its soft phase, then lets `after` finish before the lanes go.
async fn run_gateway(gateway: Gateway, listener: TcpListener, stop: &stop::Stop) -> bool {
    let served = gateway.serve(listener).await;
    if let Err(error) = &served {
        tracing::error!(%error, "the gateway cannot go on");
    }
    // Also when it ended by itself: the rest of the process is of no use then.
    stop.begin();
    served.is_ok()
}
