//! The providers of this server.

use sealpost_schema::Clock;

use super::config::{OidcConfig, ProviderConfig};
use super::http::HttpClient;
use super::provider::Provider;
use crate::problem::{ApiError, ApiResult};

pub struct Providers(Vec<Provider>);

#[derive(Debug, thiserror::Error)]
#[error("the client for sign-in providers cannot be made: {0}")]
pub struct ProvidersError(#[from] rustls::Error);

impl Providers {
    /// `base_url`: how addresses of this server begin. Nobody is asked anything yet.
    pub fn new(config: &OidcConfig, base_url: &str, clock: &Clock) -> Result<Self, ProvidersError> {
        if config.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let client = HttpClient::new()?;
        let one = |(name, provider): (&String, &ProviderConfig)| {
            Provider::new(name, provider, base_url, client.clone(), clock.clone())
        };
        Ok(Self(config.iter().map(one).collect()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.0.iter()
    }

    pub fn find(&self, name: &str) -> ApiResult<&Provider> {
        self.iter().find(|provider| provider.name == name).ok_or_else(|| ApiError::not_found("sign-in provider"))
    }
}
