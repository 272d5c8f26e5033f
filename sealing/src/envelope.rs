//! The text of a sealed message, and what can be read from it without a key.

use crate::error::OpenError;
use crate::header::MESSAGE_HEADER_BYTES;
use crate::suite::Suite;
use crate::{VERSION, VERSION_TEXT};

/// Longest plaintext that one envelope holds, in bytes. Its envelope ([`MAX_ENVELOPE_BYTES`]) stays well below 1 MiB,
/// the payload limit that NATS has by default. Files go another way.
pub const MAX_PLAINTEXT_BYTES: usize = 512 * 1024;

/// Longest envelope that is parsed, in bytes: that of the longest plaintext under the highest generation.
pub const MAX_ENVELOPE_BYTES: usize = "1.fernet.4294967295.".len() + token_bytes(MAX_PLAINTEXT_BYTES);

/// Length of the Fernet token of a body: version, date, IV, padded AES blocks and HMAC, in base64.
pub(crate) const fn token_bytes(body_bytes: usize) -> usize {
    let blocks = (MESSAGE_HEADER_BYTES + body_bytes) / 16 + 1;
    (1 + 8 + 16 + blocks * 16 + 32).div_ceil(3) * 4
}

/// The fields of a sealed message that stand in clear: `<version>.<suite>.<generation>.<token>`, such as
/// `1.fernet.7.gAAAA…`.
///
/// They say which key to fetch and are not to be trusted: all are bound inside the encryption as well, and
/// [`ConversationKey::open`](crate::ConversationKey::open) compares them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Format version, 1.
    pub version: u8,
    /// The suite that sealed the token.
    pub suite: Suite,
    /// The generation of the conversation key that sealed the token.
    pub generation: u32,
    /// The sealed bytes in the suite's own text form; checked on opening, not here.
    pub token: &'a str,
}

impl<'a> Envelope<'a> {
    /// Reads the fields in clear. The generation has to be in canonical decimal (no sign, no leading zero), no field may
    /// be missing or added, and the whole is at most [`MAX_ENVELOPE_BYTES`] long.
    pub fn parse(text: &'a str) -> Result<Self, OpenError> {
        if text.len() > MAX_ENVELOPE_BYTES {
            return Err(OpenError::Refused);
        }
        let (suite, rest) = parse_version_and_suite(text)?;
        let (generation, token) = rest.split_once('.').ok_or(OpenError::Refused)?;
        let generation = parse_generation(generation).ok_or(OpenError::Refused)?;
        if token.is_empty() || token.contains('.') {
            return Err(OpenError::Refused);
        }
        Ok(Self { version: VERSION, suite, generation, token })
    }
}

/// The suite, and what follows `<version>.<suite>.`; envelopes and wrapped keys begin alike. The version is judged
/// first, since only it says what the rest looks like.
pub(crate) fn parse_version_and_suite(text: &str) -> Result<(Suite, &str), OpenError> {
    let (version, rest) = text.split_once('.').ok_or(OpenError::Refused)?;
    if version != VERSION_TEXT {
        return Err(OpenError::UnknownFormat);
    }
    let (suite, rest) = rest.split_once('.').ok_or(OpenError::Refused)?;
    let suite = Suite::from_name(suite).ok_or(OpenError::UnknownFormat)?;
    Ok((suite, rest))
}

fn parse_generation(text: &str) -> Option<u32> {
    let canonical = text == "0" || text.bytes().next().is_some_and(|first| matches!(first, b'1'..=b'9'));
    // A sign can only stand in front, where the line above refuses it.
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::{Envelope, MAX_ENVELOPE_BYTES, OpenError, Suite, VERSION_TEXT};
    use crate::VERSION;

    #[test]
    fn the_version_has_one_text() {
        assert_eq!(VERSION.to_string(), VERSION_TEXT);
    }

    #[test]
    fn the_fields_in_clear_are_read_without_a_key() {
        for generation in [0, 1, 7, 10, u32::MAX] {
            let text = format!("1.fernet.{generation}.gAAA");
            let expected = Envelope { version: 1, suite: Suite::Fernet, generation, token: "gAAA" };
            assert_eq!(Envelope::parse(&text), Ok(expected));
        }
    }

    #[test]
    fn an_unknown_version_or_suite_is_told_apart() {
        for text in ["2.fernet.1.gAAA", "2.anything", "01.fernet.1.gAAA", "1.aes-256-gcm.1.gAAA", "1.Fernet.1.gAAA"] {
            assert_eq!(Envelope::parse(text), Err(OpenError::UnknownFormat), "{text}");
        }
    }

    #[test]
    fn a_generation_has_one_text() {
        for generation in ["", "00", "01", "+1", "-1", " 1", "1 ", "1_0", "0x1", "4294967296", "99999999999", "١"] {
            let text = format!("1.fernet.{generation}.gAAA");
            assert_eq!(Envelope::parse(&text), Err(OpenError::Refused), "{text}");
        }
    }

    #[test]
    fn missing_and_additional_fields_are_refused() {
        for text in ["", "1", "gAAA", "1.fernet", "1.fernet.1", "1.fernet.1.", "1.fernet.1.gAAA.", "1.fernet.1.g.A"] {
            assert_eq!(Envelope::parse(text), Err(OpenError::Refused), "{text}");
        }
    }

    #[test]
    fn an_envelope_over_the_bound_is_refused() {
        let prefix = "1.fernet.1.";
        let longest = format!("{prefix}{}", "A".repeat(MAX_ENVELOPE_BYTES - prefix.len()));
        assert!(Envelope::parse(&longest).is_ok());
        assert_eq!(Envelope::parse(&format!("{longest}A")), Err(OpenError::Refused));
    }
}
