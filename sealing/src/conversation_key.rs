//! The key of one generation of one conversation: seals and opens its messages.

use std::fmt;

use uuid::Uuid;
use zeroize::Zeroizing;

use crate::VERSION_TEXT;
use crate::envelope::{Envelope, MAX_PLAINTEXT_BYTES, token_bytes};
use crate::error::{OpenError, SealError};
use crate::fernet_key::{FernetKey, Secret, random_secret};
use crate::header::{Binding, MESSAGE_HEADER_BYTES, message_header, starts_with};
use crate::suite::Suite;

/// The key that seals the messages of a conversation, from one rotation to the next.
///
/// Made by [`generate`](Self::generate), stored as the text of [`KeyRing::wrap`](crate::KeyRing::wrap) and read back
/// with [`KeyRing::unwrap`](crate::KeyRing::unwrap). The cipher is set up once, so keep the key (behind an `Arc`, say)
/// rather than unwrap it for each message. It is wiped when dropped, within the limits told at the [crate].
///
/// # What a token holds
///
/// The token of an envelope `1.fernet.<generation>.<token>` is a Fernet token under the key's 32 bytes, dated with the
/// time of sealing. Inside is a header of 55 bytes and then the body; numbers are big-endian, UUIDs their 16 bytes:
///
/// | bytes | field |
/// |---|---|
/// | 0 | purpose, `m` |
/// | 1 | version, 1 |
/// | 2 | suite, 1 for fernet |
/// | 3..7 | generation |
/// | 7..23 | conversation |
/// | 23..39 | message |
/// | 39..55 | sender |
/// | 55.. | body |
///
/// Fernet has no associated data, so the binding stands inside: it is authenticated with the body and compared when
/// opening. The [crate] has a reader in Python.
pub struct ConversationKey {
    conversation: Uuid,
    generation: u32,
    suite: Suite,
    secret: Secret,
    cipher: FernetKey,
    /// `<version>.<suite>.<generation>.`, the same for every envelope of this key.
    prefix: String,
}

impl ConversationKey {
    /// A new random key. Panics if the operating system has no randomness.
    pub fn generate(conversation: Uuid, generation: u32, suite: Suite) -> Self {
        Self::from_secret(conversation, generation, suite, random_secret())
    }

    pub(crate) fn from_secret(conversation: Uuid, generation: u32, suite: Suite, secret: Secret) -> Self {
        let cipher = match suite {
            Suite::Fernet => FernetKey::new(&secret),
        };
        let prefix = format!("{VERSION_TEXT}.{suite}.{generation}.");
        Self { conversation, generation, suite, secret, cipher, prefix }
    }

    /// The conversation whose messages this key seals.
    pub const fn conversation(&self) -> Uuid {
        self.conversation
    }

    /// Which key of the conversation this is; a rotation adds one.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The algorithm.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    pub(crate) const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Seals a body of at most [`MAX_PLAINTEXT_BYTES`] for one place and returns its [`Envelope`] as text.
    ///
    /// `now_unix_seconds` (from the server's clock) becomes the date of the token, which everybody can read; no check
    /// depends on it. Sealing the same body again gives another text, since the initialisation vector is random.
    /// Panics if the operating system has no randomness.
    pub fn seal(&self, binding: &Binding, plaintext: &[u8], now_unix_seconds: u64) -> Result<String, SealError> {
        if binding.conversation != self.conversation {
            return Err(SealError::OtherConversation);
        }
        if plaintext.len() > MAX_PLAINTEXT_BYTES {
            return Err(SealError::TooLong { got: plaintext.len(), limit: MAX_PLAINTEXT_BYTES });
        }
        let header = message_header(self.suite, self.generation, binding);
        let mut envelope = String::with_capacity(self.prefix.len() + token_bytes(plaintext.len()));
        envelope.push_str(&self.prefix);
        self.cipher.encrypt_into(&mut envelope, [&header, plaintext], now_unix_seconds);
        Ok(envelope)
    }

    /// Opens an envelope that [`seal`](Self::seal) made with this key for this place, whatever the date of the token.
    /// The body is wiped when dropped.
    pub fn open(&self, binding: &Binding, envelope: &str) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let parsed = Envelope::parse(envelope)?;
        if parsed.generation != self.generation {
            return Err(OpenError::WrongGeneration { envelope: parsed.generation, key: self.generation });
        }
        if parsed.suite != self.suite {
            return Err(OpenError::Refused);
        }
        let mut inner = self.cipher.decrypt(parsed.token)?;
        // The key's own conversation is compared too: sealing never mixes them, so an envelope that does is forged.
        let expected = message_header(self.suite, self.generation, binding);
        if binding.conversation != self.conversation || !starts_with(&inner, &expected) {
            return Err(OpenError::Refused);
        }
        // Moving the body to the front costs less than a second buffer; what it leaves behind the end is wiped with it.
        inner.drain(..MESSAGE_HEADER_BYTES);
        Ok(inner)
    }
}

impl fmt::Debug for ConversationKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConversationKey")
            .field("conversation", &self.conversation)
            .field("generation", &self.generation)
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}
