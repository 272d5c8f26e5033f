//! The bound headers: what stands inside the encryption in front of a message body or of a wrapped key.
//!
//! ```text
//! message  0 purpose b'm' | 1 version | 2 suite code | 3..7 generation | 7..23 conversation | 23..39 message
//!          | 39..55 sender | 55.. body
//! key      0 purpose b'k' | 1 version | 2 suite code | 3..7 generation | 7..23 conversation | 23..55 key
//! ```
//!
//! Numbers are big-endian, UUIDs are their 16 bytes. Every field has a fixed length, so two different places can never
//! give the same header. The purpose keeps a wrapped key from ever passing as a message and the other way round.

use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::VERSION;
use crate::suite::Suite;

pub(crate) const MESSAGE_HEADER_BYTES: usize = KEY_HEADER_BYTES + 16 + 16;
pub(crate) const KEY_HEADER_BYTES: usize = 3 + 4 + 16;
/// Where the suite code stands in both headers.
const SUITE_AT: usize = 2;

/// The place that a sealed message belongs to. It opens only with the same three ids that it was sealed with.
///
/// Two ciphertexts sealed with the same binding (say, a message and its edit) can stand in for each other. Where that
/// matters, give each its own id, such as the id of the event, as `message`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The conversation that the message is in.
    pub conversation: Uuid,
    /// The id of the message.
    pub message: Uuid,
    /// The user who sent it.
    pub sender: Uuid,
}

pub(crate) fn message_header(suite: Suite, generation: u32, binding: &Binding) -> [u8; MESSAGE_HEADER_BYTES] {
    let mut header = [0; MESSAGE_HEADER_BYTES];
    header[..KEY_HEADER_BYTES].copy_from_slice(&place(b'm', suite, generation, binding.conversation));
    header[KEY_HEADER_BYTES..KEY_HEADER_BYTES + 16].copy_from_slice(binding.message.as_bytes());
    header[KEY_HEADER_BYTES + 16..].copy_from_slice(binding.sender.as_bytes());
    header
}

pub(crate) fn key_header(suite: Suite, generation: u32, conversation: Uuid) -> [u8; KEY_HEADER_BYTES] {
    place(b'k', suite, generation, conversation)
}

/// The suite that an opened header names; `None` if it is cut or the suite is unknown.
pub(crate) fn suite_of(opened: &[u8]) -> Option<Suite> {
    opened.get(SUITE_AT).copied().and_then(Suite::from_code)
}

/// Whether `opened` begins with `expected`, in a time that does not depend on where they differ.
pub(crate) fn starts_with(opened: &[u8], expected: &[u8]) -> bool {
    opened.get(..expected.len()).is_some_and(|header| header.ct_eq(expected).into())
}

fn place(purpose: u8, suite: Suite, generation: u32, conversation: Uuid) -> [u8; KEY_HEADER_BYTES] {
    let mut header = [0; KEY_HEADER_BYTES];
    header[0] = purpose;
    header[1] = VERSION;
    header[SUITE_AT] = suite.code();
    header[3..7].copy_from_slice(&generation.to_be_bytes());
    header[7..].copy_from_slice(conversation.as_bytes());
    header
}
