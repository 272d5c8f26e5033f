//! What can go wrong. No text here holds a key, a plaintext or any part of the input.

use thiserror::Error;

/// Why a sealed text was not opened.
///
/// Every cryptographic failure (wrong key, altered or cut text, another place) is [`OpenError::Refused`] with one text,
/// so that nobody learns from the answer which check failed. The other two depend only on the fields in clear in front
/// of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The text is malformed, or it was not sealed by this key for this place.
    #[error("the sealed text does not open: it was altered, moved to another place, or its key is not here")]
    Refused,
    /// The version or the suite is not one that this release knows; a newer release may have written it.
    #[error("the sealed text has a version or suite that this release does not know")]
    UnknownFormat,
    /// The caller used a key of another generation than the envelope names.
    #[error("the envelope names key generation {envelope}, the key given is of generation {key}")]
    WrongGeneration {
        /// The generation that the envelope names.
        envelope: u32,
        /// The generation of the key that should open it.
        key: u32,
    },
}

/// Why a plaintext was not sealed. Both are mistakes of the caller; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// The plaintext is longer than an envelope may hold.
    #[error("the plaintext has {got} bytes, at most {limit} fit into one envelope")]
    TooLong {
        /// Length of the plaintext in bytes.
        got: usize,
        /// [`MAX_PLAINTEXT_BYTES`](crate::MAX_PLAINTEXT_BYTES).
        limit: usize,
    },
    /// The binding names another conversation than the key's: the message could never be opened again.
    #[error("the key belongs to another conversation than the message")]
    OtherConversation,
}

/// Why a list of master keys is not a key ring. Keys are counted from 1, in the order given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// The list has no key.
    #[error("the key ring is empty; make a master key with `sealpost keys generate` and add it")]
    Empty,
    /// The key is not url-safe base64.
    #[error(
        "master key {index} is not url-safe base64 (letters, digits, `-`, `_`); \
         make one with `sealpost keys generate`"
    )]
    NotBase64 {
        /// Position in the list, from 1.
        index: usize,
    },
    /// The key decodes to another length than a Fernet key has.
    #[error("master key {index} has {got} bytes, {needed} are needed; make one with `sealpost keys generate`")]
    WrongLength {
        /// Position in the list, from 1.
        index: usize,
        /// Decoded length in bytes.
        got: usize,
        /// Length of a Fernet key in bytes, 32.
        needed: usize,
    },
    /// The key stands in the list twice, which is most often a rotation where the new key was not filled in.
    #[error(
        "master key {index} is the same as key {first}; remove it, or make a new one with `sealpost keys generate`"
    )]
    Repeated {
        /// Position of the second copy, from 1.
        index: usize,
        /// Position of the first copy, from 1.
        first: usize,
    },
}
