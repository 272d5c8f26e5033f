//! No secret is printed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use sealpost_sealing::{Binding, KeyRing, OpenError};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::golden::secret_of;
use crate::{BINDING, CONVERSATION, GENERATION, NOW, conversation_key, ring};

/// Fails if `text` holds a part of the key: in base64, in hex, or as the numbers that a derived `Debug` writes.
fn assert_without_key(text: &str, secret: &[u8]) {
    let base64 = URL_SAFE.encode(secret);
    let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
    let hex = secret.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let half = secret.len() / 2;
    for (place, needle) in [
        ("base64", &base64[..16]),
        ("hex", &hex[..16]),
        ("hex", &hex[half * 2..half * 2 + 16]),
        ("numbers", &numbers[..4].join(", ")),
        ("numbers", &numbers[half..half + 4].join(", ")),
    ] {
        assert!(!text.to_lowercase().contains(&needle.to_lowercase()), "{place} of a key in: {text}");
    }
}

#[test]
fn debug_prints_no_key() {
    let master = KeyRing::generate_key();
    let ring = ring(&[&master]);
    let key = conversation_key();
    let secret = secret_of(&key);
    for text in [format!("{key:?}"), format!("{key:#?}")] {
        assert_without_key(&text, &secret);
        assert!(text.contains("generation: 7"), "{text}");
    }
    for text in [format!("{ring:?}"), format!("{ring:#?}"), format!("{master:?}")] {
        assert_without_key(&text, &URL_SAFE.decode(master.expose_secret()).unwrap());
    }
}

#[test]
fn error_texts_hold_no_key_no_plaintext_and_nothing_of_the_input() {
    let key = conversation_key();
    let canary = b"canary-plaintext";
    let envelope = key.seal(&BINDING, canary, NOW).unwrap();
    let moved = Binding { sender: Uuid::from_u128(0xff), ..BINDING };
    let ring = ring(&[&KeyRing::generate_key()]);
    let errors = [
        key.open(&moved, &envelope).unwrap_err(),
        key.open(&BINDING, "canary-input").unwrap_err(),
        key.open(&BINDING, "canary-version.x").unwrap_err(),
        key.open(&BINDING, "1.canary-suite.x").unwrap_err(),
        key.open(&BINDING, "1.fernet.8.canary-token").unwrap_err(),
        ring.unwrap("1.fernet.canary-wrapped", CONVERSATION, GENERATION).unwrap_err(),
    ];
    for error in errors {
        let text = format!("{error} {error:?}");
        assert!(!text.contains("canary"), "{text}");
        assert_without_key(&text, &secret_of(&key));
    }

    let half = "canarycanarycanarycanary";
    for keys in [vec![half], vec![half, "canary!"], vec!["canary!"]] {
        let keys: Vec<SecretString> = keys.into_iter().map(SecretString::from).collect();
        let error = KeyRing::parse(&keys).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}

#[test]
fn every_cryptographic_failure_has_the_same_error() {
    let key = conversation_key();
    let envelope = key.seal(&BINDING, b"body", NOW).unwrap();
    let mut altered = envelope.clone();
    altered.replace_range(60..61, if &envelope[60..61] == "A" { "B" } else { "A" });
    let moved = Binding { message: Uuid::from_u128(0xff), ..BINDING };
    let opened = [
        key.open(&moved, &envelope),
        key.open(&BINDING, &altered),
        key.open(&BINDING, &envelope[..envelope.len() - 4]),
        conversation_key().open(&BINDING, &envelope),
    ];
    for result in opened {
        assert_eq!(result, Err(OpenError::Refused));
    }
}
