//! The section of requests to receivers.

use ipnet::IpNet;
use serde::Deserialize;

use crate::address::Networks;

/// Section `[webhooks]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// Networks that webhooks may reach although they are not for everybody, such as `10.1.0.0/16`.
    pub allowed_networks: Vec<String>,
}

impl WebhooksConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let wrong = self.allowed_networks.iter().filter(|text| text.parse::<IpNet>().is_err());
        wrong
            .map(|text| format!("webhooks.allowed_networks: `{text}` is no network: write one such as 10.1.0.0/16"))
            .collect()
    }

    /// What may be connected to. What does not parse is told by [`validate`](Self::validate), and allows nothing.
    pub fn networks(&self) -> Networks {
        Networks::allowing(self.allowed_networks.iter().filter_map(|text| text.parse().ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, MapDeserializer};

    use super::*;

    #[test]
    fn a_network_that_is_none_is_told_with_its_key() {
        let config = WebhooksConfig { allowed_networks: vec!["10.0.0.0/8".to_owned(), "10.0.0.0/33".to_owned()] };
        let wrong = config.validate();
        assert!(wrong.len() == 1 && wrong[0].contains("webhooks.allowed_networks"), "{wrong:?}");
        assert!(config.networks().permit([10, 1, 2, 3].into()) && !config.networks().permit([127, 0, 0, 1].into()));
        let unknown = MapDeserializer::<_, Error>::new([("allowed_network", "x")].into_iter());
        assert!(WebhooksConfig::deserialize(unknown).is_err(), "unknown keys are errors");
    }
}
