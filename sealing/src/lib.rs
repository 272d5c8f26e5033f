//! Encryption at rest: what the broker, the workers and the database hold of a message is what this crate made.
//!
//! - A [`ConversationKey`] seals and opens the messages of one generation of one conversation. Each sealed message is an
//!   [`Envelope`], a line of text, [bound](Binding) to its conversation, message, sender, generation, suite and version.
//!   Moved to another place it does not open (`tests/sealing/tampering.rs`).
//! - A [`KeyRing`] holds the master keys and wraps conversation keys, so that they can be stored. Rotating a master key
//!   wraps conversation keys again and touches no message.
//! - A [`Suite`] is an algorithm with its key length and token format, under a name that is stored and never changes.
//!
//! The crate does no I/O, reads no clock (the caller passes the time of sealing) and keeps no state beside the keys. Its
//! one outside source is the random generator of the operating system, for keys and initialisation vectors; if that
//! fails, sealing panics, since any other answer would be a weak ciphertext.
//!
//! # Reading what it writes, with any Fernet library
//!
//! Nothing here is private to Sealpost. All numbers are big-endian, UUIDs are their 16 bytes, and the token behind the
//! last dot is plain Fernet (<https://github.com/fernet/spec>), so this Python program opens a message
//! (`tests/sealing/golden.rs` does the same steps in Rust):
//!
//! ```python
//! import base64, struct, uuid
//! from cryptography.fernet import Fernet
//!
//! def conversation_key(master_key, wrapped):                       # wrapped: "1.fernet.<token>"
//!     version, suite, token = wrapped.split(".")
//!     inner = Fernet(master_key).decrypt(token)
//!     purpose, version, suite, generation = struct.unpack(">cBBI", inner[:7])
//!     conversation = uuid.UUID(bytes=inner[7:23])
//!     assert purpose == b"k" and version == 1 and suite == 1       # suite 1 is fernet
//!     return conversation, generation, base64.urlsafe_b64encode(inner[23:])
//!
//! def message(key, envelope):                                      # envelope: "1.fernet.<generation>.<token>"
//!     version, suite, generation, token = envelope.split(".")
//!     inner = Fernet(key).decrypt(token)
//!     purpose, version, suite, generation = struct.unpack(">cBBI", inner[:7])
//!     conversation, message, sender = (uuid.UUID(bytes=inner[i:i + 16]) for i in (7, 23, 39))
//!     assert purpose == b"m" and version == 1 and suite == 1
//!     return conversation, message, sender, generation, inner[55:]
//! ```
//!
//! # What stays in memory
//!
//! Conversation keys, master keys and opened plaintext live in heap memory that is overwritten with zeros when dropped,
//! and no `Debug` prints them. The crates below do not go all the way, and this crate cannot make them: `ring` does not
//! wipe the states of HMAC that it keeps for a key (with them one could forge, and not read), and for each call the
//! ciphers leave a part of their work on the stack, where later calls overwrite it. Keep core dumps and swap off where
//! that matters.

mod conversation_key;
mod envelope;
mod error;
mod fernet_key;
mod header;
mod key_ring;
mod keyed_hash;
mod suite;

pub use conversation_key::ConversationKey;
pub use envelope::{Envelope, MAX_ENVELOPE_BYTES, MAX_PLAINTEXT_BYTES};
pub use error::{KeyRingError, OpenError, SealError};
pub use header::Binding;
pub use key_ring::KeyRing;
pub use keyed_hash::{HashKey, KEYED_HASH_BYTES};
pub use suite::Suite;

/// The format version that this release writes: the first field of envelopes and wrapped keys, and a byte of each
/// bound header.
const VERSION: u8 = 1;
/// [`VERSION`] as it stands in text.
const VERSION_TEXT: &str = "1";
