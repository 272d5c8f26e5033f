//! Interoperation: plain Fernet reads what is sealed here, and the golden files open for ever.
//!
//! A golden file is never changed and never removed; a new format or suite adds one. `fernet-1.txt` was written by this
//! crate, `fernet-1-python.txt` by the Python package `cryptography` from the layout in the crate's documentation.

use fernet::Fernet;
use sealpost_sealing::{Binding, ConversationKey, Envelope, KeyRing};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::{BINDING, CONVERSATION, NOW, conversation_key, ring};

/// The raw key, by the way that any reader has: wrap it, and decrypt the wrapped text with plain Fernet.
pub(crate) fn secret_of(key: &ConversationKey) -> Vec<u8> {
    let master = KeyRing::generate_key();
    let wrapped = ring(&[&master]).wrap(key, NOW);
    let token = wrapped.strip_prefix("1.fernet.").unwrap();
    let inner = Fernet::new(master.expose_secret()).unwrap().decrypt_at_time(token, None, NOW).unwrap();
    inner[23..].to_vec()
}

/// The plain Fernet of a conversation key.
pub(crate) fn fernet_of(key: &ConversationKey) -> Fernet {
    use base64::Engine;
    Fernet::new(&base64::engine::general_purpose::URL_SAFE.encode(secret_of(key))).unwrap()
}

#[test]
fn plain_fernet_reads_a_message_in_the_documented_layout() {
    let key = conversation_key();
    let envelope = key.seal(&BINDING, "Grüße".as_bytes(), NOW).unwrap();
    let token = envelope.strip_prefix("1.fernet.7.").unwrap();
    let inner = fernet_of(&key).decrypt_at_time(token, None, NOW).unwrap();
    assert_eq!(inner[..7], [b'm', 1, 1, 0, 0, 0, 7]);
    assert_eq!(inner[7..23], *BINDING.conversation.as_bytes());
    assert_eq!(inner[23..39], *BINDING.message.as_bytes());
    assert_eq!(inner[39..55], *BINDING.sender.as_bytes());
    assert_eq!(inner[55..], *"Grüße".as_bytes());
}

#[test]
fn plain_fernet_reads_a_wrapped_key_in_the_documented_layout() {
    let master = KeyRing::generate_key();
    let wrapped = ring(&[&master]).wrap(&conversation_key(), NOW);
    let token = wrapped.strip_prefix("1.fernet.").unwrap();
    let inner = Fernet::new(master.expose_secret()).unwrap().decrypt_at_time(token, None, NOW).unwrap();
    assert_eq!(inner[..7], [b'k', 1, 1, 0, 0, 0, 7]);
    assert_eq!(inner[7..23], *CONVERSATION.as_bytes());
    assert_eq!(inner.len(), 55);
}

/// The value of `<name> = <value>` in a golden file.
fn field<'a>(golden: &'a str, name: &str) -> &'a str {
    let line = golden.lines().find_map(|line| line.split_once(" = ").filter(|(key, _)| *key == name));
    line.unwrap_or_else(|| panic!("no field {name}")).1
}

fn assert_opens(golden: &str) {
    let id = |name| Uuid::parse_str(field(golden, name)).unwrap();
    let binding = Binding { conversation: id("conversation"), message: id("message"), sender: id("sender") };
    let envelope = field(golden, "envelope");
    let generation = Envelope::parse(envelope).unwrap().generation;
    assert_eq!(generation.to_string(), field(golden, "generation"));

    let ring = KeyRing::parse(&[SecretString::from(field(golden, "master_key"))]).unwrap();
    let key = ring.unwrap(field(golden, "wrapped_key"), binding.conversation, generation).unwrap();
    let body = key.open(&binding, envelope).unwrap();
    assert_eq!(std::str::from_utf8(&body).unwrap(), field(golden, "body"));
}

#[test]
fn the_golden_message_of_version_1_opens_for_ever() {
    assert_opens(include_str!("../golden/fernet-1.txt"));
}

#[test]
fn the_golden_message_written_in_python_opens_for_ever() {
    assert_opens(include_str!("../golden/fernet-1-python.txt"));
}
