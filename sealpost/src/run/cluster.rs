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
use super::{Gateway, GatewayParts, bind, ended, run_gateway, webhooks};
use crate::config::Config;
use crate::keys::{self, Configured};
use crate::telemetry;

pub(super) async fn gateway(config: Config) -> anyhow::Result<ExitCode> {
    let metrics = telemetry::start_metrics()?;
    let stop = Stop::on_signals(Duration::from_secs(config.gateway.shutdown_seconds))?;
    let keys = keys::parse(Configured::of(&config))?;
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
        webhooks: webhooks::of_gateway(&config.webhooks, &keys.webhook_keys)?,
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
    let gateway = Gateway::start(parts, tasks.clone(), stop.soft.clone(), stop.hard.clone())?;
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
    let (urls, from_url) = split_credentials(urls)?;
    let credentials = match (&nats.user, &nats.password, &nats.token) {
        (Some(user), Some(password), _) => {
            Credentials::UserPassword { user: user.clone(), password: password.expose_secret().to_owned() }
        }
        (_, _, Some(token)) => Credentials::Token(token.expose_secret().to_owned()),
        _ => from_url,
    };
    let settings = JetStreamConfig {
        urls,
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

/// The addresses without the user and password that they may name, and those; the last one named counts.
fn split_credentials(urls: &str) -> anyhow::Result<(Vec<String>, Credentials)> {
    let mut credentials = Credentials::None;
    let mut plain = Vec::new();
    for text in urls.split(',').map(str::trim) {
        let Some(mut url) = url::Url::parse(text).ok().filter(url::Url::has_host) else {
            plain.push(text.to_owned());
            continue;
        };
        let user = decoded(url.username());
        match (user.is_empty(), url.password().map(decoded)) {
            (true, _) => {}
            (false, Some(password)) => credentials = Credentials::UserPassword { user, password },
            (false, None) => credentials = Credentials::Token(user),
        }
        let removed = url.set_username("").and_then(|()| url.set_password(None));
        removed.map_err(|()| anyhow::anyhow!("nats_url: `{}` is not an address of a server", url.scheme()))?;
        plain.push(url.to_string());
    }
    Ok((plain, credentials))
}

/// Without the percent signs that an address needs.
fn decoded(text: &str) -> String {
    let pair = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_password_in_the_address_are_used_and_taken_out_of_it() {
        let (urls, credentials) = split_credentials("nats://ada:p%40ss+w@one:4222, nats://two:4222").unwrap();
        assert!(urls.iter().all(|url| !url.contains("ada")), "{urls:?}");
        assert!(urls[0].contains("one:4222") && urls[1].contains("two:4222"), "{urls:?}");
        assert!(
            matches!(credentials, Credentials::UserPassword { user, password } if user == "ada" && password == "p@ss+w")
        );
        let (_, token) = split_credentials("nats://s3cret@one").unwrap();
        assert!(matches!(token, Credentials::Token(token) if token == "s3cret"));
        assert!(matches!(split_credentials("one:4222").unwrap().1, Credentials::None));
    }
}
