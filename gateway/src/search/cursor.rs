//! Where a search goes on. What a client makes of it is no matter: it says where to look, and not what may be seen.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sealpost_schema::ConversationId;
use uuid::Uuid;

use super::scan::Proposal;

/// Everything up to this was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub Proposal);

const BYTES: usize = 24;

impl Cursor {
    /// All places from this one on were told, of all conversations.
    pub fn after_place(place: i64) -> Self {
        Self(Proposal { place, conversation_id: ConversationId(Uuid::nil()) })
    }

    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; BYTES] = BASE64.decode(text).ok()?.try_into().ok()?;
        let (place, conversation) = bytes.split_first_chunk::<8>()?;
        let conversation_id = ConversationId(Uuid::from_slice(conversation).ok()?);
        Some(Self(Proposal { place: i64::from_be_bytes(*place), conversation_id }))
    }

    /// The places of a conversation that come after this are those before the one returned.
    pub fn end_in(self, conversation: ConversationId) -> i64 {
        // Of those at the same place the conversation with the higher id comes first.
        if conversation < self.0.conversation_id { self.0.place.saturating_add(1) } else { self.0.place }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = [&self.0.place.to_be_bytes()[..], self.0.conversation_id.0.as_bytes()].concat();
        f.write_str(&BASE64.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_nothing_else_is_one() {
        let cursor = Cursor(Proposal { place: 1 << 40, conversation_id: ConversationId::new() });
        let text = cursor.to_string();
        assert_eq!(Cursor::parse(&text), Some(cursor));
        for bad in ["", "x", "' OR 1=1 --", &text[1..], &format!("{text}AAAA"), &text.replace('A', "*"), "ä"] {
            assert!(Cursor::parse(bad).is_none() || bad == text, "{bad}");
        }
    }

    #[test]
    fn of_those_at_one_place_each_is_told_once() {
        let (low, high) = (ConversationId(Uuid::from_u128(1)), ConversationId(Uuid::from_u128(2)));
        let told = Cursor(Proposal { place: 7, conversation_id: high });
        assert_eq!((told.end_in(low), told.end_in(high)), (8, 7));
        assert_eq!(Cursor::after_place(7).end_in(low), 7);
    }
}
