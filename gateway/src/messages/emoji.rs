//! What may be a reaction: one emoji, or the name of a custom one between colons.

use unicode_properties::UnicodeEmoji as _;
use unicode_segmentation::UnicodeSegmentation as _;

/// What to tell those who got it wrong.
pub const RULE: &str =
    "A reaction is one emoji, or 1 to 32 of a to z, 0 to 9, '_', '+' and '-' between colons, such as `:party:`.";

/// Families and flags are the longest; nobody needs more.
const MAX_BYTES: usize = 64;
/// Asks for the colourful look of the sign before it. The same emoji is typed with it and without.
const LOOK: char = '\u{fe0f}';

/// Whether this can be a reaction.
pub fn is_reaction(text: &str) -> bool {
    is_name(text) || (text.len() <= MAX_BYTES && text.graphemes(true).count() == 1 && is_emoji(text))
}

/// What the same reactions have in common, however they were typed.
pub fn canonical(text: &str) -> String {
    text.chars().filter(|character| *character != LOOK).collect()
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'+' | b'-');
    let name = text.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    name.is_some_and(|name| (1..=32).contains(&name.len()) && name.bytes().all(allowed))
}

/// Of a single grapheme.
fn is_emoji(text: &str) -> bool {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return false };
    let rest = characters.as_str();
    if matches!(first, '0'..='9' | '#' | '*') {
        // Keycaps.
        return rest.ends_with('\u{20e3}') && rest.chars().all(|other| matches!(other, LOOK | '\u{20e3}'));
    }
    if is_regional(first) {
        return rest.chars().count() == 1 && rest.chars().all(is_regional);
    }
    let joins = |other: char| matches!(other, LOOK | '\u{200d}' | '\u{e0020}'..='\u{e007f}') || other.is_emoji_char();
    first.is_emoji_char() && rest.chars().all(joins)
}

fn is_regional(character: char) -> bool {
    ('\u{1f1e6}'..='\u{1f1ff}').contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_emoji_or_a_name_is_a_reaction() {
        for good in
            ["👍", "👍🏽", "❤", "❤️", "🏳️‍🌈", "👨‍👩‍👧‍👦", "🇩🇪", "1️⃣", "#⃣", "©️", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "☺", "🫠", ":party:", ":+1:", ":a_b-c9:"]
        {
            assert!(is_reaction(good), "{good}");
        }
    }

    #[test]
    fn what_is_no_emoji_is_no_reaction() {
        let long = format!(":{}:", "a".repeat(33));
        let chain = "👨\u{200d}".repeat(20) + "👨";
        for bad in [
            "", " ", "a", "1", "#", "👍👍", "👍 ", "ok", "::", ":a b:", ":Ä:", ":a", "e\u{301}", "\u{200d}",
            "\u{fe0f}", "🇩", "<b>", "\0", "漢", "👍a", &long, &chain,
        ] {
            assert!(!is_reaction(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_same_emoji_is_the_same_reaction() {
        assert_eq!(canonical("❤️"), canonical("❤"));
        assert_ne!(canonical("👍🏽"), canonical("👍"));
    }
}
