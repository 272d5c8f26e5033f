//! Which keys are secret, how they are read, and what may be shown of them.

use std::fmt;

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use url::Url;

pub(crate) const REDACTED: &str = "[redacted]";

/// Keys that hold a secret, with the environment variable that is known beside `SEALPOST__…`. Each variable has a
/// sibling `…_FILE` that names a file with the value.
const SECRETS: [(&str, Option<&str>); 8] = [
    ("database_url", Some("DATABASE_URL")),
    ("nats_url", Some("NATS_URL")),
    ("fernet_keys", Some("FERNET_KEYS")),
    ("signing_keys", Some("SIGNING_KEY")),
    ("webhook_keys", Some("WEBHOOK_KEY")),
    ("nats.password", None),
    ("nats.token", None),
    ("mail.smtp_password", None),
];

/// The well-known variables and their keys.
pub(super) fn well_known() -> impl Iterator<Item = (&'static str, &'static str)> {
    SECRETS.iter().filter_map(|(key, variable)| Some(((*variable)?, *key)))
}

/// `key`: with dots. On doubt a key counts as secret: this also catches what another crate adds to its section.
pub(super) fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    is_listed(key) || ["password", "secret", "token", "private_key", "client_secret"].contains(&last)
}

pub(super) fn is_listed(key: &str) -> bool {
    // Sections of providers have names of their own.
    let of_provider = key.strip_prefix("oidc.").is_some_and(|rest| rest.ends_with(".client_secret"));
    of_provider || SECRETS.iter().any(|(secret, _)| *secret == key)
}

/// The value of a secret key as it may be shown: an address without its credentials, of all others nothing.
pub(super) fn redact(key: &str, value: &str) -> String {
    if value.is_empty() {
        return String::new();
    }
    if !["database_url", "nats_url"].contains(&key) {
        return REDACTED.to_owned();
    }
    value.split(',').map(|url| redact_url(url.trim())).collect::<Vec<_>>().join(",")
}

/// Only what is understood is shown: scheme, host, port and path.
pub(crate) fn redact_url(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return REDACTED.to_owned() };
    let Some(host) = url.host_str() else { return REDACTED.to_owned() };
    let user = if url.username().is_empty() && url.password().is_none() { "" } else { "[redacted]@" };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let query = if url.query().is_some() { "?[redacted]" } else { "" };
    format!("{}://{user}{host}{port}{}{query}", url.scheme(), url.path())
}

/// A text; the empty one means that nothing is set.
pub(super) fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(optional_text(deserializer)?.map(SecretString::from))
}

/// A list of texts, or one text with commas or white space between.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretString>, D::Error> {
    deserializer.deserialize_any(ListVisitor)
}

pub(crate) fn split(text: &str) -> Vec<SecretString> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    words.map(SecretString::from).collect()
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Vec<SecretString>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of keys, or one text with commas between them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(split(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut keys = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            keys.extend(split(&text));
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn addresses_are_shown_without_credentials_and_other_secrets_not_at_all() {
        let url = redact("database_url", "postgres://ann:p%40ss@db:5432/chat?password=x");
        assert_eq!(url, "postgres://[redacted]@db:5432/chat?[redacted]");
        let urls = redact("nats_url", "nats://a:4222, nats://token@b:4222");
        assert_eq!(urls, "nats://a:4222,nats://[redacted]@b:4222");
        assert_eq!(redact("database_url", "p@ss word"), "[redacted]");
        assert_eq!(redact("fernet_keys", "abc"), "[redacted]");
        assert_eq!(redact("nats.token", ""), "");
    }
}
