//! `sealpost gateway`, and the way to NATS. A gateway listens at once and goes on without NATS and Postgres: `/readyz` says
//! what is missing, and it is used when it comes.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sealpost_bus::jetstream::{Credentials, JetStreamBus, JetStreamConfig};
use sealpost_schema::Clock;
use secrecy::ExposeSecret;
use tokio_util::task::TaskTracker;

use super::database::{self, Need};
use super::missing::Missing;
use super::stop::Stop;
use super::workers::Workers;
use super::{Gateway, GatewayParts, bind, ended, run_gateway};
use crate::config::Config;
use crate::{keys, telemetry};

pub(super) async fn gateway(config: Config) -> anyhow::Result<ExitCode> {
    let metrics = telemetry::start_metrics()?;
    let stop = Stop::on_signals(Duration::from_secs(config.gateway.shutdown_seconds))?;
    let keys = keys::parse(&config.fernet_keys, &config.signing_keys)?;
    let listener = bind("gateway.listen", config.gateway.listen).await?;
    let db = database::postgres(&config).await?;
    let bus = connect(&config, "gateway").await?;
    let (missing, tasks, side) = (Missing::default(), TaskTracker::new(), Workers::new(&stop));
    watch(&config, &bus, Some(&db), &missing, &stop, &tasks);
    side.spawn("metrics", {
        let (metrics, stop) = (metrics.clone(), side.stop.clone());
        async move { stop.run_until_cancelled(telemetry::upkeep(metrics)).await.unwrap_or_default() }
    });
    let bus = Arc::new(bus);
    let parts = GatewayParts {
        config: config.gateway,
        auth: config.auth,
        lane: config.lane,
        signing_keys: keys.signing_keys,
        key_ring: keys.key_ring,
        clock: Clock::default(),
        db: db.clone(),
        log: bus.clone(),
        live: bus,
        metrics: Some(telemetry::render(&metrics)),
        ready: Arc::new(move || {
            let missing = missing.list();
            Box::pin(async move { missing })
        }),
    };
    tracing::info!(address = %listener.local_addr()?, "the gateway listens");
    let gateway = Gateway::start(parts, tasks.clone(), stop.soft.clone(), stop.hard.clone());
    let served = run_gateway(gateway, listener, &stop).await;
    side.finish().await;
    stop.hard.cancel();
    let clean = ended(&tasks).await;
    db.close().await?;
    tracing::info!("stopped");
    Ok(side.exit_code(served && clean))
}

/// Answers at once; the connection is made in the background, for as long as it takes.
pub(crate) async fn connect(config: &Config, name: &str) -> anyhow::Result<JetStreamBus> {
    let urls = config.nats_url.as_ref().context("nats_url is not set")?.expose_secret();
    let nats = &config.nats;
    let credentials = match (&nats.user, &nats.password, &nats.token) {
        (Some(user), Some(password), _) => {
            Credentials::UserPassword { user: user.clone(), password: password.expose_secret().to_owned() }
        }
        (_, _, Some(token)) => Credentials::Token(token.expose_secret().to_owned()),
        _ => Credentials::None,
    };
    let settings = JetStreamConfig {
        urls: urls.split(',').map(|url| url.trim().to_owned()).collect(),
        credentials,
        name: format!("sealpost {name}"),
        replicas: nats.replicas,
        max_age: Duration::from_secs(nats.max_age_days.saturating_mul(24 * 3600)),
        max_bytes: nats.max_bytes,
        publish_timeout: Duration::from_millis(nats.publish_timeout_ms),
        ..JetStreamConfig::new("")
    };
    Ok(JetStreamBus::connect(settings).await?)
}

/// Keeps `missing` up to date until nothing is missing that a start needs. Whether NATS is reached is asked of the log itself; here
/// it is only said that a server must not be used.
pub(super) fn watch(
    config: &Config,
    bus: &JetStreamBus,
    db: Option<&sea_orm::DatabaseConnection>,
    missing: &Missing,
    stop: &Stop,
    tasks: &TaskTracker,
) {
    if let Some(db) = db.cloned() {
        let (config, missing, soft) = (config.clone(), missing.clone(), stop.soft.clone());
        tasks.spawn(async move { database::wait(Need::Migrated, &db, &config, &missing, &soft).await });
    }
    let (bus, missing, soft) = (bus.clone(), missing.clone(), stop.soft.clone());
    tasks.spawn(soft.run_until_cancelled_owned(async move {
        while let Err(error) = bus.ready().await {
            tracing::error!(%error, "this NATS server cannot be used");
            missing.set("nats", error.to_string());
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        missing.clear("nats");
        tracing::info!("the event log is ready");
    }));
}
