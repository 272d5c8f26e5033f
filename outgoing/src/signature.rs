//! What deliveries are signed with.
//!
//! The secret of a webhook is `whs_` and HMAC-SHA256 of its id and version under the server's key, as url-safe base64: whoever has the key
//! can make it again, and no store holds it. A signature is HMAC-SHA256, under the text of the secret, of the time in seconds, a dot, and the
//! body.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, ExposeSecretMut as _, SecretBox, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
/// What a secret begins with, so that people and scanners know what they have found.
const PREFIX: &str = "whs_";
const PURPOSE: &[u8] = b"sealpost webhook 1\0";
/// More would only make headers long.
const MAX_KEYS: usize = 4;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookKeyError {
    #[error("not a key of webhooks (url-safe base64 of {KEY_BYTES} bytes); make one with `sealpost keys generate`")]
    Unreadable,
    #[error("there are {0} keys: {MAX_KEYS} at most, the newest first")]
    TooMany(usize),
}

/// A key of the server, from which the secrets of all webhooks are made.
pub struct WebhookKey(SecretBox<[u8; KEY_BYTES]>);

impl WebhookKey {
    pub fn parse(text: &SecretString) -> Result<Self, WebhookKeyError> {
        let text = text.expose_secret().trim();
        let decoded = if text.ends_with('=') { URL_SAFE.decode(text) } else { URL_SAFE_NO_PAD.decode(text) };
        let bytes = Zeroizing::new(decoded.map_err(|_| WebhookKeyError::Unreadable)?);
        let mut key = SecretBox::new(Box::new([0; KEY_BYTES]));
        if bytes.len() != KEY_BYTES {
            return Err(WebhookKeyError::Unreadable);
        }
        key.expose_secret_mut().copy_from_slice(&bytes);
        Ok(Self(key))
    }

    /// A new one, as settings have it.
    ///
    /// # Errors
    /// This machine has no random numbers.
    pub fn generate() -> Result<SecretString, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(bytes.as_mut_slice())?;
        Ok(SecretString::from(URL_SAFE.encode(bytes.as_slice())))
    }

    fn secret(&self, webhook: Uuid, version: i32) -> SecretString {
        let parts = [PURPOSE, webhook.as_bytes(), &version.to_be_bytes()];
        let made = Zeroizing::new(hmac(self.0.expose_secret(), &parts));
        SecretString::from(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(made.as_slice())))
    }
}

/// The keys, newest first: the first one makes the secrets that are shown, and deliveries are signed with those of all.
pub struct WebhookKeys(Vec<WebhookKey>);

impl fmt::Debug for WebhookKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookKeys({} [REDACTED])", self.0.len())
    }
}

impl WebhookKeys {
    /// `None`: there are no keys.
    pub fn parse(texts: &[SecretString]) -> Result<Option<Self>, WebhookKeyError> {
        if texts.len() > MAX_KEYS {
            return Err(WebhookKeyError::TooMany(texts.len()));
        }
        let keys = texts.iter().map(WebhookKey::parse).collect::<Result<Vec<_>, _>>()?;
        Ok((!keys.is_empty()).then_some(Self(keys)))
    }

    /// The secret to show to the owner of a webhook.
    pub fn secret(&self, webhook: Uuid, version: i32) -> SecretString {
        // There is one at least, see `parse`.
        self.0.first().map(|key| key.secret(webhook, version)).unwrap_or_default()
    }

    /// The value of `Sealpost-Signature`: `t=<unix seconds>,v1=<hex>`, with a `v1` for each key and version.
    pub fn sign(&self, webhook: Uuid, versions: &[i32], unix_seconds: u64, body: &[u8]) -> String {
        let mut header = format!("t={unix_seconds}");
        for version in versions {
            for key in &self.0 {
                header.push_str(",v1=");
                header.push_str(&hex(&signature(&key.secret(webhook, *version), unix_seconds, body)));
            }
        }
        header
    }
}

/// Whether one of the signatures in the header is that of this body under this secret, not older than `max_age_seconds`: what a receiver does.
pub fn verify(header: &str, secret: &SecretString, body: &[u8], now: u64, max_age_seconds: u64) -> bool {
    let Some(time) = header.split(',').find_map(|part| part.strip_prefix("t=")?.parse::<u64>().ok()) else {
        return false;
    };
    let expected = hex(&signature(secret, time, body));
    let signed = header.split(',').filter_map(|part| part.strip_prefix("v1="));
    now.abs_diff(time) <= max_age_seconds
        && signed.fold(false, |found, one| found | bool::from(one.as_bytes().ct_eq(expected.as_bytes())))
}

fn signature(secret: &SecretString, unix_seconds: u64, body: &[u8]) -> [u8; 32] {
    hmac(secret.expose_secret().as_bytes(), &[unix_seconds.to_string().as_bytes(), b".", body])
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is good");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretString {
        SecretString::from(URL_SAFE.encode([byte; KEY_BYTES]))
    }

    fn keys(texts: &[SecretString]) -> WebhookKeys {
        WebhookKeys::parse(texts).unwrap().unwrap()
    }

    const BODY: &[u8] = br#"{"type":"ping"}"#;

    #[test]
    fn secrets_and_signatures_stay_what_they_are() {
        let webhook = Uuid::from_u128(7);
        let (keys, time) = (keys(&[key(1)]), 1_795_253_400);
        // Receivers hold these: another value would break all of them.
        assert_eq!(keys.secret(webhook, 1).expose_secret(), GOLDEN_SECRET);
        assert_eq!(keys.sign(webhook, &[1], time, BODY), GOLDEN_HEADER);
    }

    const GOLDEN_SECRET: &str = "whs_Gd6cBipLMn0d4SbochE38SFGQT8ea7tmNsVxiLJzQZw";
    const GOLDEN_HEADER: &str = "t=1795253400,v1=2862f5f440b53f9e34bad78850c0413dae38a0e8c5e8bc2bcf8ef7b4d98c074b";

    #[test]
    fn a_signature_counts_for_one_body_one_secret_and_a_while() {
        let webhook = Uuid::from_u128(7);
        let keys = keys(&[key(1)]);
        let header = keys.sign(webhook, &[1], 1000, BODY);
        let secret = keys.secret(webhook, 1);
        assert!(verify(&header, &secret, BODY, 1000, 300) && verify(&header, &secret, BODY, 1300, 300));
        assert!(!verify(&header, &secret, BODY, 1301, 300) && !verify(&header, &secret, BODY, 699, 300));
        assert!(!verify(&header, &secret, b"{}", 1000, 300));
        assert!(!verify(&header, &keys.secret(webhook, 2), BODY, 1000, 300));
        assert!(!verify(&header, &keys.secret(Uuid::from_u128(8), 1), BODY, 1000, 300));
        assert!(!verify(&header.replace("t=1000", "t=1001"), &secret, BODY, 1000, 300));
        for bad in ["", "t=1000", "t=1000,v1=", "v1=00", "t=x,v1=00"] {
            assert!(!verify(bad, &secret, BODY, 1000, 300), "{bad}");
        }
    }

    #[test]
    fn old_versions_and_old_keys_are_signed_beside_the_new() {
        let webhook = Uuid::from_u128(7);
        let old = keys(&[key(1)]);
        let both = keys(&[key(2), key(1)]);
        let header = both.sign(webhook, &[2, 1], 1000, BODY);
        assert_eq!(header.matches("v1=").count(), 4);
        for secret in [old.secret(webhook, 1), old.secret(webhook, 2), both.secret(webhook, 2)] {
            assert!(verify(&header, &secret, BODY, 1000, 300));
        }
        assert!(!verify(&header, &old.secret(webhook, 3), BODY, 1000, 300));
    }

    #[test]
    fn keys_are_read_and_made_and_never_shown() {
        let made = WebhookKey::generate().unwrap();
        assert!(WebhookKey::parse(&made).is_ok());
        assert!(WebhookKey::parse(&SecretString::from(made.expose_secret().trim_end_matches('='))).is_ok());
        for bad in ["", "abc", "hunter2hunter2hunter2hunter2hunter2hunter2", &"A".repeat(44)] {
            let refused = WebhookKeys::parse(&[SecretString::from(bad)]).unwrap_err();
            assert_eq!(refused, WebhookKeyError::Unreadable, "{bad}");
        }
        assert!(WebhookKeys::parse(&[]).unwrap().is_none());
        assert_eq!(WebhookKeys::parse(&vec![key(1); 5]).unwrap_err(), WebhookKeyError::TooMany(5));
        assert_eq!(format!("{:?}", keys(&[key(1)])), "WebhookKeys(1 [REDACTED])");
    }
}
