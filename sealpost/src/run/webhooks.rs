//! Webhooks: what gateways and the worker that sends them get of the settings.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use sealpost_bus::Live;
use sealpost_gateway::Webhooks;
use sealpost_outgoing::{Client, WebhookKeys, WebhooksConfig};
use sealpost_schema::Clock;
use sealpost_workers::webhooks::{self, Parts, WebhookWorkerConfig};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::keys;

pub(super) fn of_gateway(config: &WebhooksConfig, webhook_keys: &[SecretString]) -> anyhow::Result<Webhooks> {
    Ok(Webhooks { keys: keys::webhook_keys(webhook_keys)?, networks: config.networks() })
}

/// Ready to send.
pub(super) struct Sender {
    client: Client,
    keys: WebhookKeys,
    config: WebhookWorkerConfig,
}

/// `None`: there is no key, so no webhooks.
pub(super) fn sender(
    networks: &WebhooksConfig,
    webhook_keys: &[SecretString],
    config: WebhookWorkerConfig,
) -> anyhow::Result<Option<Sender>> {
    let Some(keys) = keys::webhook_keys(webhook_keys)? else {
        tracing::info!("this process sends no webhooks: it has no WEBHOOK_KEY");
        return Ok(None);
    };
    let client = Client::new(networks.networks(), Duration::from_millis(config.timeout_ms))?;
    Ok(Some(Sender { client, keys, config }))
}

impl Sender {
    pub(super) async fn run(self, db: DatabaseConnection, live: Arc<dyn Live>, clock: Clock, stop: CancellationToken) {
        let Self { client, keys, config } = self;
        webhooks::run(Parts { db, live, client, keys, config, clock }, stop).await;
    }
}
