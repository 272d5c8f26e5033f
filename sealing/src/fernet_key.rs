//! The Fernet cipher (<https://github.com/fernet/spec>): AES-128 in CBC mode and HMAC-SHA256 over everything, in url-safe base64.
//!
//! Composed here of `aes`, `cbc` and `ring`, and held against the `fernet` crate by the tests: that one copies a token four times and sets up both
//! keys for each call, which were a tenth of the CPU of a message and a fifth of that of a page of history. It also refuses tokens that are
//! dated more than 60 s ahead, so that a clock which stepped back would make recent history unreadable; age means nothing here, and
//! dates are not looked at.

use std::fmt;

use aes::Aes128;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, InnerIvInit as _, KeyInit as _};
use ring::hmac;
use secrecy::{ExposeSecret, SecretBox};
use zeroize::Zeroizing;

use crate::error::OpenError;

/// Length of a Fernet key in bytes: 16 for signing, then 16 for encryption.
pub(crate) const KEY_BYTES: usize = 32;
const SIGNING_BYTES: usize = 16;

const VERSION: u8 = 0x80;
const BLOCK_BYTES: usize = 16;
/// Version, date and initialisation vector stand before the ciphertext, the HMAC behind it.
const IV_AT: usize = 1 + 8;
const CIPHERTEXT_AT: usize = IV_AT + BLOCK_BYTES;
const HMAC_BYTES: usize = 32;

/// The key's raw bytes, on the heap, wiped when dropped.
pub(crate) type Secret = SecretBox<[u8; KEY_BYTES]>;

/// Both keys, set up. Boxed, so that moving its owner leaves no copy behind.
pub(crate) struct FernetKey(Box<Keys>);

struct Keys {
    signing: hmac::Key,
    encryption: Aes128,
}

impl FernetKey {
    pub(crate) fn new(secret: &Secret) -> Self {
        let (signing, encryption) = secret.expose_secret().split_at(SIGNING_BYTES);
        #[expect(clippy::expect_used, reason = "the second half has 16 bytes")]
        let encryption = Aes128::new_from_slice(encryption).expect("16 bytes are an AES-128 key");
        Self(Box::new(Keys { signing: hmac::Key::new(hmac::HMAC_SHA256, signing), encryption }))
    }

    /// Appends a token (padded url-safe base64) of these parts, dated `now_unix_seconds`. Panics if the operating system has no randomness.
    pub(crate) fn encrypt_into(&self, text: &mut String, parts: [&[u8]; 2], now_unix_seconds: u64) {
        let length = parts[0].len() + parts[1].len();
        let padded = (length / BLOCK_BYTES + 1) * BLOCK_BYTES;
        let mut token = vec![0; CIPHERTEXT_AT + padded + HMAC_BYTES];
        let (signed, mac) = token.split_at_mut(CIPHERTEXT_AT + padded);
        signed[0] = VERSION;
        signed[1..IV_AT].copy_from_slice(&now_unix_seconds.to_be_bytes());
        let mut iv = [0; BLOCK_BYTES];
        #[expect(clippy::expect_used, reason = "no message may be sealed without randomness")]
        getrandom::fill(&mut iv).expect("the operating system has no randomness");
        signed[IV_AT..CIPHERTEXT_AT].copy_from_slice(&iv);
        let body = &mut signed[CIPHERTEXT_AT..];
        body[..parts[0].len()].copy_from_slice(parts[0]);
        body[parts[0].len()..length].copy_from_slice(parts[1]);
        let cipher = cbc::Encryptor::inner_iv_init(&self.0.encryption, &iv.into());
        #[expect(clippy::expect_used, reason = "the buffer has room for the padding")]
        cipher.encrypt_padded::<Pkcs7>(body, length).expect("there is room for the padding");
        mac.copy_from_slice(hmac::sign(&self.0.signing, signed).as_ref());
        URL_SAFE.encode_string(token, text);
    }

    /// What [`encrypt_into`](Self::encrypt_into) was given, whatever the date of the token. Base64 is read strictly, or one message would have
    /// many texts.
    pub(crate) fn decrypt(&self, token: &str) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let mut token = Zeroizing::new(URL_SAFE.decode(token).map_err(|_| OpenError::Refused)?);
        let end = token.len().checked_sub(HMAC_BYTES).filter(|end| *end >= CIPHERTEXT_AT).ok_or(OpenError::Refused)?;
        let (signed, mac) = token.split_at(end);
        if signed[0] != VERSION {
            return Err(OpenError::Refused);
        }
        // In constant time; nothing is decrypted that was not made by this key.
        hmac::verify(&self.0.signing, signed, mac).map_err(|_| OpenError::Refused)?;
        let mut iv = [0; BLOCK_BYTES];
        iv.copy_from_slice(&signed[IV_AT..CIPHERTEXT_AT]);
        let cipher = cbc::Decryptor::inner_iv_init(&self.0.encryption, &iv.into());
        let opened = cipher.decrypt_padded::<Pkcs7>(&mut token[CIPHERTEXT_AT..end]).map_err(|_| OpenError::Refused)?;
        let length = opened.len();
        token.truncate(CIPHERTEXT_AT + length);
        token.drain(..CIPHERTEXT_AT);
        Ok(token)
    }
}

impl fmt::Debug for FernetKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FernetKey([REDACTED])")
    }
}

/// A new key from the operating system's random generator, written straight into its place on the heap.
pub(crate) fn random_secret() -> Secret {
    #[expect(clippy::expect_used, reason = "no key may be made without randomness, and no caller can do anything")]
    SecretBox::init_with_mut(|bytes: &mut [u8; KEY_BYTES]| {
        getrandom::fill(bytes).expect("the operating system has no randomness");
    })
}

#[cfg(test)]
mod tests {
    use fernet::Fernet;
    use proptest::prelude::*;

    use super::*;

    fn both(secret: [u8; KEY_BYTES]) -> (FernetKey, Fernet) {
        (FernetKey::new(&Secret::new(Box::new(secret))), Fernet::new(&URL_SAFE.encode(secret)).unwrap())
    }

    fn encrypt(key: &FernetKey, plaintext: &[u8], now: u64) -> String {
        let mut token = String::new();
        let (begin, end) = plaintext.split_at(plaintext.len() / 3);
        key.encrypt_into(&mut token, [begin, end], now);
        token
    }

    /// The published vectors (`generate.json`, `verify.json`) of the specification.
    #[test]
    fn the_vector_of_the_specification_opens() {
        let mut secret = [0; KEY_BYTES];
        URL_SAFE.decode_slice("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=", &mut secret).unwrap();
        let token =
            "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
        assert_eq!(**both(secret).0.decrypt(token).unwrap(), *b"hello");
    }

    proptest! {
        #[test]
        fn the_fernet_crate_opens_what_is_encrypted_here_and_the_other_way_round(
            secret: [u8; KEY_BYTES], plaintext in proptest::collection::vec(any::<u8>(), 0..100), now in 0..1_u64 << 40,
        ) {
            let (ours, theirs) = both(secret);
            prop_assert_eq!(&theirs.decrypt_at_time(&encrypt(&ours, &plaintext, now), None, now).unwrap(), &plaintext);
            prop_assert_eq!(&**ours.decrypt(&theirs.encrypt_at_time(&plaintext, now)).unwrap(), &plaintext);
        }

        #[test]
        fn what_was_changed_or_cut_does_not_open(secret: [u8; KEY_BYTES], at: prop::sample::Index, bit in 0..8_u8) {
            let (key, _) = both(secret);
            let mut bytes = URL_SAFE.decode(encrypt(&key, b"a text of more than a block", 7)).unwrap();
            let at = at.index(bytes.len());
            prop_assert!(key.decrypt(&URL_SAFE.encode(&bytes[..at])).is_err());
            bytes[at] ^= 1 << bit;
            prop_assert!(key.decrypt(&URL_SAFE.encode(&bytes)).is_err());
        }
    }
}
