//! From where a request comes.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use crate::edge::ClientAddress;

/// What the columns take, in characters.
const MAX_USER_AGENT_CHARS: usize = 255;

/// Address and program of a client, for sessions, limits and the audit log.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// None: not over the network, such as a command of the operator.
    pub address: Option<IpAddr>,
    /// As the client says; cut to 255 characters.
    pub user_agent: Option<String>,
}

impl Caller {
    /// As a column has it.
    pub fn address_text(&self) -> Option<String> {
        self.address.map(|address| address.to_string())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<ClientAddress>().map(|client| client.0);
        let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let user_agent = user_agent.map(|text| text.chars().take(MAX_USER_AGENT_CHARS).collect());
        Ok(Self { address, user_agent })
    }
}
