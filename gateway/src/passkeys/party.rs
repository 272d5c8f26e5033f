//! What passkeys belong to: the name of this server, and the pages that may use them.

use sealpost_schema::ProblemKind;
use url::{Host, Url};
use webauthn_rs::prelude::{Webauthn, WebauthnBuilder};

use crate::config::GatewayConfig;
use crate::problem::{ApiError, ApiResult};

const WHAT_TO_SET: &str = "This server has no passkeys. Its operator has to set gateway.public_url to the address that people use, with a \
                           name such as `https://chat.example.org`: browsers tie passkeys to a name and take no IP address.";

/// Passkeys of this server, if it has a name.
pub struct RelyingParty(Option<Webauthn>);

impl RelyingParty {
    /// The id is the host of `gateway.public_url`; its page may use passkeys, and those of `gateway.allowed_origins` below that host.
    pub fn new(config: &GatewayConfig, title: &str) -> Self {
        let party = config.public_url.parse().ok().and_then(|origin| build(&origin, config, title));
        if party.is_none() {
            tracing::info!(
                "passkeys are off: they need gateway.public_url with a name, such as `https://chat.example.org`"
            );
        }
        Self(party)
    }

    pub fn get(&self) -> ApiResult<&Webauthn> {
        self.0.as_ref().ok_or_else(|| ApiError::new(ProblemKind::PasskeysOff, WHAT_TO_SET))
    }
}

fn build(origin: &Url, config: &GatewayConfig, title: &str) -> Option<Webauthn> {
    let Some(Host::Domain(id)) = origin.host() else { return None };
    let mut builder = WebauthnBuilder::new(id, origin).ok()?.rp_name(title).timeout(super::ceremonies::LIFETIME);
    let others = config.allowed_origins.iter().filter_map(|origin| Url::parse(origin).ok());
    for other in others.filter(|other| is_below(other, id)) {
        builder = builder.append_allowed_origin(&other);
    }
    builder.build().ok()
}

fn is_below(origin: &Url, id: &str) -> bool {
    origin.domain().is_some_and(|domain| domain == id || domain.ends_with(&format!(".{id}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(public_url: &str, allowed: &[&str]) -> Option<Vec<String>> {
        let config = GatewayConfig {
            public_url: public_url.to_owned(),
            allowed_origins: allowed.iter().map(|&origin| origin.to_owned()).collect(),
            ..GatewayConfig::default()
        };
        let party = RelyingParty::new(&config, "Chat");
        party
            .get()
            .ok()
            .map(|party| party.get_allowed_origins().iter().map(|url| url.origin().ascii_serialization()).collect())
    }

    #[test]
    fn only_a_name_has_passkeys_and_only_pages_below_it_use_them() {
        for none in ["", "http://127.0.0.1:8080", "https://[::1]"] {
            assert_eq!(origins(none, &[]), None, "{none}");
        }
        assert_eq!(origins("http://localhost:8080", &[]).unwrap(), ["http://localhost:8080"]);
        let allowed = ["https://app.chat.example", "https://evilchat.example", "https://example", "http://192.0.2.1"];
        assert_eq!(
            origins("https://chat.example", &allowed).unwrap(),
            ["https://chat.example", "https://app.chat.example"]
        );
    }
}
