//! The section of sign-in providers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;
use url::{Host, Url};

const MOST: usize = 16;

/// Section `[oidc]`: providers by name, such as `[oidc.example]`. The name is part of addresses.
pub type OidcConfig = BTreeMap<String, ProviderConfig>;

/// Section `[oidc.<name>]`: a provider of OpenID Connect.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// What people see. Empty: the name.
    pub title: String,
    /// As the provider calls itself, to the letter.
    pub issuer: String,
    /// What the provider calls this server.
    pub client_id: String,
    /// What this server proves that with. Empty: a public client.
    pub client_secret: SecretString,
    pub scopes: Vec<String>,
    /// Whether somebody without an account here gets one, where `auth.signup` is open.
    pub create_accounts: bool,
    /// PEM file of an authority of your own that the provider's certificate may come from. Empty: those that browsers and this machine trust.
    pub authority: PathBuf,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            title: String::new(),
            issuer: String::new(),
            client_id: String::new(),
            client_secret: SecretString::default(),
            scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
            create_accounts: false,
            authority: PathBuf::new(),
        }
    }
}

/// What is wrong, each with its key and the way out; empty if nothing is. `public_url`: that of the gateway.
pub fn validate(providers: &OidcConfig, public_url: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if providers.len() > MOST {
        wrong.push(format!("oidc has {} providers: {MOST} at most", providers.len()));
    }
    if !providers.is_empty() && public_url.is_empty() {
        wrong.push("gateway.public_url is not set: providers of [oidc] send people back there".to_owned());
    }
    for (name, provider) in providers {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        if !(1..=32).contains(&name.len()) || !name.bytes().all(allowed) {
            wrong.push(format!("oidc.{name}: name a provider with 1 to 32 of a-z, 0-9, '-' and '_'"));
        }
        if !is_endpoint(&provider.issuer, is_local(&provider.issuer)) {
            wrong.push(format!(
                "oidc.{name}.issuer is `{}`: write its https address, to the letter as the provider does",
                provider.issuer
            ));
        }
        if provider.client_id.is_empty() {
            wrong.push(format!(
                "oidc.{name}.client_id is empty: register this server with the provider and put its id here"
            ));
        }
        if !provider.scopes.iter().any(|scope| scope == "openid") {
            wrong.push(format!("oidc.{name}.scopes lacks `openid`: add it"));
        }
    }
    wrong
}

/// Whether this is the address of a provider on this machine, which may do without TLS.
pub fn is_local(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    })
}

/// Whether something can be asked there: by TLS, or on this machine if the provider is there as well; no credentials, no fragment.
pub fn is_endpoint(text: &str, provider_is_local: bool) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let safe = url.scheme() == "https" || (url.scheme() == "http" && provider_is_local && is_local(text));
        safe && url.has_host() && url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_with_its_key() {
        let good = ProviderConfig {
            issuer: "https://id.example/realms/x".to_owned(),
            client_id: "chat".to_owned(),
            ..ProviderConfig::default()
        };
        let providers = |name: &str, provider| OidcConfig::from([(name.to_owned(), provider)]);
        assert_eq!(validate(&providers("corp", good.clone()), "https://chat.example"), Vec::<String>::new());
        assert_eq!(validate(&OidcConfig::new(), ""), Vec::<String>::new());
        let bad = ProviderConfig { scopes: Vec::new(), ..ProviderConfig::default() };
        assert_eq!(validate(&providers("Corp/1", bad), "").len(), 5);
    }

    #[test]
    fn endpoints_are_asked_by_tls_or_on_this_machine() {
        for good in ["https://id.example/token", "https://id.example:8443/token?x=1"] {
            assert!(is_endpoint(good, false), "{good}");
        }
        for bad in [
            "http://id.example/token",
            "https://a:b@id.example",
            "https://id.example/#x",
            "file:///etc/passwd",
            "/token",
            "",
        ] {
            assert!(!is_endpoint(bad, false) && !is_endpoint(bad, true), "{bad}");
        }
        assert!(is_endpoint("http://127.0.0.1:9/token", true) && is_endpoint("http://[::1]:9/", true));
        assert!(!is_endpoint("http://127.0.0.1:9/token", false), "a provider elsewhere sends nobody to this machine");
    }
}
