//! Equality without plaintext: the same value under the same key gives the same hash, and nobody without the key learns more than
//! that two values are equal.

use hkdf::Hkdf;
use ring::hmac;
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;

use crate::conversation_key::ConversationKey;

/// Length of a keyed hash in bytes.
pub const KEYED_HASH_BYTES: usize = 16;

/// A key for one purpose, derived from a conversation key. It opens nothing, and hashes of different purposes or conversations cannot be
/// compared.
///
/// HKDF-SHA256 of the conversation key's 32 bytes, without salt; the info is `sealpost keyed hash 1`, a zero byte, and the purpose. Take
/// the key of generation 1: the hashes of a conversation have to stay comparable for its life.
pub struct HashKey(Box<hmac::Key>);

impl ConversationKey {
    /// The key that hashes values for this purpose, such as `reaction`.
    pub fn hash_key(&self, purpose: &str) -> HashKey {
        let mut derived = SecretBox::new(Box::new([0_u8; 32]));
        let info = [b"sealpost keyed hash 1\0", purpose.as_bytes()];
        let expanded = Hkdf::<Sha256>::new(None, self.secret().expose_secret())
            .expand_multi_info(&info, secrecy::ExposeSecretMut::expose_secret_mut(&mut derived));
        #[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8160 bytes")]
        expanded.expect("32 bytes can be derived");
        HashKey(Box::new(hmac::Key::new(hmac::HMAC_SHA256, derived.expose_secret())))
    }
}

impl HashKey {
    /// HMAC-SHA256 of the value, cut to its first 16 bytes.
    pub fn hash(&self, value: &[u8]) -> [u8; KEYED_HASH_BYTES] {
        let mut cut = [0; KEYED_HASH_BYTES];
        cut.copy_from_slice(&hmac::sign(&self.0, value).as_ref()[..KEYED_HASH_BYTES]);
        cut
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("HashKey([REDACTED])")
    }
}
