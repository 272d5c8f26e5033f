//! The crate's section of the configuration.

use serde::Deserialize;

use crate::delivery::DeliveryConfig;
use crate::outbox::OutboxConfig;
use crate::persistence::PersistenceConfig;
use crate::timers::TimersConfig;
use crate::webhooks::WebhookWorkerConfig;

/// Section `workers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkersConfig {
    pub persistence: PersistenceConfig,
    pub delivery: DeliveryConfig,
    pub outbox: OutboxConfig,
    pub timers: TimersConfig,
    pub webhooks: WebhookWorkerConfig,
}

impl WorkersConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        [
            self.persistence.validate(),
            self.delivery.validate(),
            self.outbox.validate(),
            self.timers.validate(),
            self.webhooks.validate(),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(WorkersConfig::default().validate(), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_reported_with_its_key() {
        let mut config = WorkersConfig::default();
        config.persistence.max_events = 0;
        config.delivery.max_ack_pending = 1;
        config.outbox.concurrency = 0;
        config.timers.page = 0;
        config.webhooks.lease_ms = 1;
        let wrong = config.validate().join("\n");
        let keys = [
            "workers.persistence.max_events",
            "workers.delivery.max_ack_pending",
            "workers.outbox.concurrency",
            "workers.timers.page",
            "workers.webhooks.lease_ms",
        ];
        for key in keys {
            assert!(wrong.contains(key), "{key} is not in {wrong}");
        }
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(serde_json::from_str::<WorkersConfig>(r#"{"persistence": {"max_record": 1}}"#).is_err());
        let config: WorkersConfig = serde_json::from_str(r#"{"outbox": {"page": 7}}"#).unwrap();
        assert_eq!(config.outbox.page, 7);
    }
}
