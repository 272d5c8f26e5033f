//! Logs to stderr, and metrics for `/metrics`. Neither holds a secret or a message.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Upper bounds of the buckets of `…_seconds`, from an append on the same machine to a database that is away.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// How often histograms are folded; without it they grow until somebody asks for `/metrics`.
const UPKEEP: Duration = Duration::from_secs(5);

/// What other crates log at `info` and our own say better. A filter that names them goes before this.
const QUIET: &str = "async_nats=warn,sqlx::postgres::notice=warn";

fn filter_of(text: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::try_new(format!("{QUIET},{text}"))
}

/// Call once per process.
pub(crate) fn start_logs(config: &LogConfig) -> anyhow::Result<()> {
    let wanted = std::env::var("RUST_LOG").ok().filter(|filter| !filter.trim().is_empty());
    let filter = match &wanted {
        Some(filter) => filter_of(filter).context("RUST_LOG is no filter; use `info`, or unset it")?,
        None => filter_of(&config.filter).context("log.filter is no filter; use `info`")?,
    };
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = fmt().with_env_filter(filter).with_writer(stderr);
    match config.format {
        LogFormat::Text => logs.with_ansi(colours).finish().try_init(),
        LogFormat::Json => logs.json().flatten_event(true).finish().try_init(),
    }
    .context("the log could not be started")?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(location, text, "a part of the program panicked: this is a defect");
    }));
    Ok(())
}

/// Collects what is counted. Call once per process.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("the metrics could not be started")
}

/// What `/metrics` answers with.
pub(crate) fn render(metrics: &PrometheusHandle) -> Arc<dyn Fn() -> String + Send + Sync> {
    let metrics = metrics.clone();
    Arc::new(move || metrics.render())
}

/// Runs until it is dropped.
pub(crate) async fn upkeep(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
        #[expect(clippy::cast_precision_loss, reason = "a count of tasks is far below 2^52")]
        metrics::gauge!("sealpost_tasks").set(tokio::runtime::Handle::current().metrics().num_alive_tasks() as f64);
    }
}
