//! `sealpost serve`: everything in one process.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use sea_orm::DatabaseConnection;
use sealpost_bus::EventLog;
use sealpost_bus::embedded::{EmbeddedBus, EmbeddedConfig, EmbeddedLive};
use sealpost_schema::Clock;
use sealpost_workers::{WorkersConfig, delivery, outbox, persistence, timers};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::stop::Stop;
use super::workers::Workers;
use super::{Folder, Gateway, GatewayParts, bind, database, ended, run_gateway, webhooks};
use crate::config::Config;
use crate::keys::{self, Configured, Keys};
use crate::{healthcheck, output, telemetry};

/// Messages that one live subscription holds before it is told that it lost some.
const LIVE_QUEUE: usize = 1024;

pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let metrics = telemetry::start_metrics()?;
    let stop = Stop::on_signals(Duration::from_secs(config.gateway.shutdown_seconds))?;
    if config.nats_url.is_some() || config.database_url.is_some() {
        tracing::warn!("`serve` uses neither nats_url nor database_url; for a cluster run `gateway` and `worker`");
    }
    let listener = bind("gateway.listen", config.gateway.listen).await?;
    let address = healthcheck::reachable(listener.local_addr()?);
    let scheme = if config.gateway.has_tls() { "https" } else { "http" };
    let Opened { folder, bus, db, writer, teller, keys } = open(&config).await?;

    let (log, live) = (Arc::new(bus.clone()), Arc::new(EmbeddedLive::new(LIVE_QUEUE)));
    let (clock, tasks, workers) = (Clock::default(), TaskTracker::new(), Workers::new(&stop));
    workers.spawn("metrics", {
        let (metrics, stop) = (metrics.clone(), workers.stop.clone());
        async move { stop.run_until_cancelled(telemetry::upkeep(metrics)).await.unwrap_or_default() }
    });
    let webhook_keys = keys.webhook_keys.clone();
    let parts = GatewayParts {
        webhooks: webhooks::of_gateway(&config.webhooks, &webhook_keys)?,
        mail: config.mail(),
        oidc: config.oidc.clone(),
        search: config.search,
        config: config.gateway,
        auth: config.auth,
        limits: config.limits,
        lane: config.lane,
        retention_days: config.retention.days(),
        signing_keys: keys.signing_keys,
        key_ring: keys.key_ring,
        clock: clock.clone(),
        db: db.clone(),
        log: log.clone(),
        live: live.clone(),
        metrics: Some(telemetry::render(&metrics)),
        ready: Arc::new(|| Box::pin(async { Vec::new() })),
    };
    let gateway = Gateway::start(parts, tasks.clone(), stop.soft.clone(), stop.hard.clone())?;
    let retention = config.retention.days();
    let WorkersConfig { persistence, delivery, outbox, timers, webhooks: telling } = config.workers;
    let told = || workers.stop.clone();
    workers.spawn("persistence", persistence::run(log.clone(), live.clone(), writer.clone(), persistence, told()));
    workers.spawn("delivery", delivery::run(log, live.clone(), delivery, told()));
    let sender = webhooks::sender(&config.webhooks, &webhook_keys, telling)?;
    if let Some(sender) = sender {
        workers.spawn("webhooks", sender.run(teller.clone(), live.clone(), clock.clone(), told()));
    }
    let nudge = Arc::new(Notify::new());
    workers.spawn("outbox", outbox::run(gateway.lanes(), db.clone(), outbox, clock.clone(), nudge, told()));
    workers.spawn("timers", timers::run(gateway.lanes(), live, db.clone(), timers, retention, clock, told()));

    tracing::info!(%address, took = ?began.elapsed(), "serving");
    announce(scheme, address, &folder)?;
    let served = run_gateway(gateway, listener, &stop).await;
    workers.finish().await;
    // No sender is left: now the lanes may go.
    stop.hard.cancel();
    let clean = ended(&tasks).await;
    bus.close().await;
    writer.close().await?;
    teller.close().await?;
    db.close().await?;
    tracing::info!("stopped");
    Ok(workers.exit_code(served && clean))
}

struct Opened {
    folder: Folder,
    bus: EmbeddedBus,
    db: DatabaseConnection,
    /// The persistence worker's own.
    writer: DatabaseConnection,
    /// That of webhooks: however many receivers are slow, requests do not wait for it.
    teller: DatabaseConnection,
    keys: Keys,
}

/// The log comes first, since its lock keeps a second process out of the folder.
async fn open(config: &Config) -> anyhow::Result<Opened> {
    let folder = Folder::create(&config.data_dir)?;
    let settings = EmbeddedConfig::new(folder.log());
    let bus = tokio::task::spawn_blocking(move || EmbeddedBus::open(settings)).await??;
    let has_data = folder.database().exists() || bus.state().await?.last.0 > 0;
    let keys = keys::of_folder(folder.path(), Configured::of(config), has_data)?;
    folder.create_database()?;
    let db = database::sqlite(folder.database(), database::SQLITE_CONNECTIONS).await?;
    sealpost_migrations::migrate(&db).await.context("the database could not be brought up to date")?;
    let writer = database::sqlite(folder.database(), database::SQLITE_WRITER).await?;
    let teller = database::sqlite(folder.database(), database::SQLITE_WRITER).await?;
    Ok(Opened { folder, bus, db, writer, teller, keys })
}

fn announce(scheme: &str, address: std::net::SocketAddr, folder: &Folder) -> anyhow::Result<()> {
    let path = folder.path().canonicalize().unwrap_or_else(|_| folder.path().to_path_buf());
    output::text(&format!(
        "Sealpost {} is running; Ctrl-C stops it\n  API   {scheme}://{address}/api\n  docs  {scheme}://{address}/docs\n  data  {}\n",
        env!("CARGO_PKG_VERSION"),
        path.display()
    ))
}
