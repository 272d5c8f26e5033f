//! `sealpost worker`: one worker of a cluster. It waits for NATS and for a migrated database, for as long as it takes.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sealpost_lane::Lanes;
use sealpost_schema::Clock;
use sealpost_workers::{delivery, outbox, persistence, timers};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::database::{self, Need};
use super::missing::Missing;
use super::monitor::Monitor;
use super::stop::Stop;
use super::workers::Workers;
use super::{bind, cluster, ended, webhooks};
use crate::cli::WorkerKind;
use crate::config::Config;
use crate::telemetry;

pub(super) async fn run(kind: WorkerKind, config: Config) -> anyhow::Result<ExitCode> {
    let metrics = telemetry::start_metrics()?;
    let stop = Stop::on_signals(Duration::from_secs(config.worker.shutdown_seconds))?;
    let name = match kind {
        WorkerKind::Persistence => "persistence",
        WorkerKind::Delivery => "delivery",
        WorkerKind::Outbox => "outbox",
        WorkerKind::Timers => "timers",
    };
    // Delivery touches no table, so that it goes on while the database is away; webhooks beside it wait for that by themselves.
    let is_delivery = kind == WorkerKind::Delivery;
    let sender = if is_delivery {
        webhooks::sender(&config.webhooks, &config.webhook_keys, config.workers.webhooks.clone())?
    } else {
        None
    };
    let needs_database = !is_delivery || sender.is_some();
    let db = if needs_database { Some(database::postgres(&config).await?) } else { None };
    let bus = cluster::connect(&config, name).await?;
    let (missing, tasks, workers) = (Missing::default(), TaskTracker::new(), Workers::new(&stop));
    let log = Arc::new(bus.clone());
    cluster::watch(&config, &bus, None, &missing, &stop, &tasks);
    let monitor = Monitor {
        metrics: metrics.clone(),
        missing: missing.clone(),
        log: log.clone(),
        db: db.clone().filter(|_| !is_delivery),
    };
    if config.worker.listen.port() != 0 {
        let listener = bind("worker.listen", config.worker.listen).await?;
        tracing::info!(address = %listener.local_addr()?, "health and metrics");
        tasks.spawn(monitor.serve(listener, stop.hard.clone()));
    }
    tasks.spawn(stop.hard.clone().run_until_cancelled_owned(telemetry::upkeep(metrics)));

    let lanes_stop = stop.hard.clone();
    let (told, hard_tasks) = (workers.stop.clone(), tasks.clone());
    if let (Some(sender), Some(db)) = (sender, db.clone()) {
        let (told, live, config) = (told.clone(), log.clone(), config.clone());
        workers.spawn("webhooks", async move {
            // Not being ready for webhooks is no reason to call delivery not ready.
            if database::wait(Need::Migrated, &db, &config, &Missing::default(), &told).await {
                sender.run(db, live, Clock::default(), told).await;
            }
        });
    }
    let database = db.clone().filter(|_| !is_delivery);
    workers.spawn(name, async move {
        let Some(db) = database else {
            return delivery::run(log.clone(), log, config.workers.delivery, told).await;
        };
        if !database::wait(Need::Migrated, &db, &config, &missing, &told).await {
            return;
        }
        tracing::info!(worker = name, "working");
        if kind == WorkerKind::Persistence {
            return persistence::run(log.clone(), log, db, config.workers.persistence, told).await;
        }
        let clock = Clock::default();
        let lanes = Lanes::new(log.clone(), db.clone(), config.lane, clock.clone(), None, hard_tasks, lanes_stop);
        if kind == WorkerKind::Timers {
            return timers::run(lanes, log, db, config.workers.timers, config.retention.days(), clock, told).await;
        }
        outbox::run(lanes, db, config.workers.outbox, clock, Arc::new(Notify::new()), told).await;
    });

    stop.soft.cancelled().await;
    workers.finish().await;
    stop.hard.cancel();
    let clean = ended(&tasks).await;
    if let Some(db) = db {
        db.close().await?;
    }
    tracing::info!("stopped");
    Ok(workers.exit_code(clean))
}
