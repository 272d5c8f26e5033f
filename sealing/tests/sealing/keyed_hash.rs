//! Hashes for equality: the same for the same, and for nothing else.

use base64::Engine;
use sealpost_sealing::{ConversationKey, KEYED_HASH_BYTES, KeyRing, Suite};
use secrecy::SecretString;
use uuid::Uuid;

use crate::{CONVERSATION, conversation_key};

#[test]
fn the_same_value_has_the_same_hash_and_no_other_has_it() {
    let key = conversation_key();
    let hash = key.hash_key("reaction").hash("👍".as_bytes());
    assert_eq!(hash, key.hash_key("reaction").hash("👍".as_bytes()));
    let others = [
        key.hash_key("reaction").hash("👎".as_bytes()),
        key.hash_key("search").hash("👍".as_bytes()),
        key.hash_key("reactio").hash("n👍".as_bytes()),
        conversation_key().hash_key("reaction").hash("👍".as_bytes()),
        ConversationKey::generate(CONVERSATION, 1, Suite::Fernet).hash_key("reaction").hash("👍".as_bytes()),
    ];
    assert!(others.iter().all(|other| *other != hash));
    assert_eq!(hash.len(), KEYED_HASH_BYTES);
}

/// `tests/golden/hash-1.txt` was made by Python's `hmac` and `hashlib` from the words in the documentation.
#[test]
fn the_golden_hash_stays() {
    let field = |file: &str, name: &str| -> String {
        let line = file.lines().find_map(|line| line.split_once(" = ").filter(|(key, _)| *key == name));
        line.unwrap().1.to_owned()
    };
    let message = include_str!("../golden/fernet-1.txt");
    let ring = KeyRing::parse(&[SecretString::from(field(message, "master_key"))]).unwrap();
    let conversation = Uuid::parse_str(&field(message, "conversation")).unwrap();
    let generation = field(message, "generation").parse().unwrap();
    let key = ring.unwrap(&field(message, "wrapped_key"), conversation, generation).unwrap();
    let golden = include_str!("../golden/hash-1.txt");
    let hash = key.hash_key(&field(golden, "purpose")).hash(field(golden, "value").as_bytes());
    assert_eq!(base64::engine::general_purpose::URL_SAFE.encode(hash), field(golden, "hash"));
}

#[test]
fn no_hash_key_is_printed() {
    assert_eq!(format!("{:?}", conversation_key().hash_key("reaction")), "HashKey([REDACTED])");
}
