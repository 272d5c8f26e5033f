//! What the crate promises, by its public interface only.

#![expect(clippy::unwrap_used, reason = "the helpers between the tests; in tests themselves it is allowed")]

mod disclosure;
mod golden;
mod key_ring;
mod keyed_hash;
mod round_trip;
mod tampering;

use sealpost_sealing::{Binding, ConversationKey, KeyRing, Suite};
use secrecy::SecretString;
use uuid::Uuid;

/// A date for tokens, in Unix seconds; no test depends on the date of today.
const NOW: u64 = 1_800_000_000;
const GENERATION: u32 = 7;
const CONVERSATION: Uuid = Uuid::from_u128(0x0c);
const BINDING: Binding =
    Binding { conversation: CONVERSATION, message: Uuid::from_u128(0x0e), sender: Uuid::from_u128(0x05) };

fn conversation_key() -> ConversationKey {
    ConversationKey::generate(CONVERSATION, GENERATION, Suite::Fernet)
}

fn ring(keys: &[&SecretString]) -> KeyRing {
    let keys: Vec<SecretString> = keys.iter().map(|key| (*key).clone()).collect();
    KeyRing::parse(&keys).unwrap()
}

/// Each text that differs from `text` in one bit of one byte, as far as it is UTF-8 (the interface takes no other).
fn with_each_bit_flipped(text: &str) -> impl Iterator<Item = String> {
    (0..text.len() * 8).filter_map(|bit| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        String::from_utf8(bytes).ok()
    })
}
