//! The providers of this server.

use sealpost_schema::Clock;

use super::config::{OidcConfig, ProviderConfig};
use super::http::HttpClient;
use super::provider::Provider;
use crate::authority::{self, AuthorityError};
use crate::problem::{ApiError, ApiResult};

pub struct Providers(Vec<Provider>);

#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    #[error("the client for sign-in providers cannot be made: {0}")]
    Tls(#[from] rustls::Error),
    #[error("oidc.{name}.authority: {source}")]
    Authority { name: String, source: AuthorityError },
}

impl Providers {
    /// `base_url`: how addresses of this server begin. Nobody is asked anything yet.
    pub fn new(config: &OidcConfig, base_url: &str, clock: &Clock) -> Result<Self, ProvidersError> {
        let one = |(name, provider): (&String, &ProviderConfig)| {
            let authorities = authority::read(&provider.authority);
            let authorities = authorities.map_err(|source| ProvidersError::Authority { name: name.clone(), source })?;
            // Each has a client of its own: one's authority says nothing about another.
            Ok(Provider::new(name, provider, base_url, HttpClient::new(authorities)?, clock.clone()))
        };
        config.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.0.iter()
    }

    pub fn find(&self, name: &str) -> ApiResult<&Provider> {
        self.iter().find(|provider| provider.name == name).ok_or_else(|| ApiError::not_found("sign-in provider"))
    }
}
