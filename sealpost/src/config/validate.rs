//! What must hold before the program starts, over all sections.

use clap::ValueEnum;
use secrecy::ExposeSecret;
use url::Url;

use super::Config;
use crate::keys;

/// Which command the configuration is for: what has to be set depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    Serve,
    Gateway,
    Worker,
    /// The delivery worker touches no table, unless it sends webhooks.
    Delivery,
    Migrate,
    DeadLetters,
    Admin,
    /// Reads what is sealed.
    Search,
    /// Nothing has to be set; what is set has to be right.
    #[value(skip)]
    Any,
}

pub(super) fn mistakes(config: &Config, role: Role) -> Vec<String> {
    let mut wrong = sections(config);
    urls(config, role, &mut wrong);
    wrong.extend(keys::mistakes_in(&config.fernet_keys, &config.signing_keys));
    wrong.extend(keys::mistakes_in_webhook_keys(&config.webhook_keys));
    match role {
        Role::Search if config.database_url.is_some() => {
            wrong.extend(keys::missing(&config.fernet_keys, &config.signing_keys));
        }
        Role::Gateway => wrong.extend(keys::missing(&config.fernet_keys, &config.signing_keys)),
        Role::Serve if config.fernet_keys.is_empty() != config.signing_keys.is_empty() => {
            // `serve` makes both or takes both.
            wrong.extend(keys::missing(&config.fernet_keys, &config.signing_keys));
        }
        _ => {}
    }
    wrong
}

fn sections(config: &Config) -> Vec<String> {
    [
        config.gateway.validate(),
        config.auth.validate(),
        config.limits.validate(),
        config.mail.validate(),
        sealpost_gateway::oidc::validate(&config.oidc, &config.gateway.public_url),
        config.search.validate(),
        config.lane.validate(),
        config.retention.validate(),
        config.webhooks.validate(),
        config.workers.validate(),
        config.database.validate(),
        config.nats.validate(),
        config.log.validate(),
    ]
    .concat()
}

fn urls(config: &Config, role: Role, wrong: &mut Vec<String>) {
    let needs_database = matches!(role, Role::Gateway | Role::Worker | Role::Migrate);
    let sends_webhooks = role == Role::Delivery && !config.webhook_keys.is_empty();
    let needs_nats = matches!(role, Role::Gateway | Role::Worker | Role::Delivery);
    match &config.database_url {
        None if needs_database => wrong.push(
            "database_url is not set: set DATABASE_URL to postgres://USER:PASSWORD@HOST/DATABASE \
             (`sealpost serve` needs no database server)"
                .to_owned(),
        ),
        Some(url) if !has_scheme(url.expose_secret(), &["postgres", "postgresql"]) => wrong.push(
            "database_url is no address of Postgres: write postgres://USER:PASSWORD@HOST/DATABASE, with special characters of \
             the password percent-encoded"
                .to_owned(),
        ),
        _ => {}
    }
    if sends_webhooks && config.database_url.is_none() {
        wrong.push(
            "database_url is not set, and this delivery worker has WEBHOOK_KEY: set DATABASE_URL, or leave out WEBHOOK_KEY and it sends no \
             webhooks"
                .to_owned(),
        );
    }
    match &config.nats_url {
        None if needs_nats => wrong.push(
            "nats_url is not set: set NATS_URL to nats://HOST:4222 (`sealpost serve` needs no NATS server)".to_owned(),
        ),
        Some(urls) if !urls.expose_secret().split(',').all(|url| has_scheme(url.trim(), &["nats", "tls"])) => {
            wrong.push(
                "nats_url is no address of NATS: write nats://HOST:4222, or several with commas between".to_owned(),
            );
        }
        _ => {}
    }
}

fn has_scheme(url: &str, schemes: &[&str]) -> bool {
    // A host in the query names a socket's folder.
    Url::parse(url).is_ok_and(|url| schemes.contains(&url.scheme()) && (url.has_host() || url.query().is_some()))
}
