//! What the index keeps of a message: 64 bits each of keyed hashes of its words, of beginnings of them, of its sender, and of whether it has
//! a link. The key is derived from the conversation's, so that terms of two conversations have nothing in common.

use sealpost_schema::UserId;
use sealpost_sealing::HashKey;

use super::fold::fold;
use super::words::{Run, has_link, runs};

/// The purpose of the derived key.
pub const PURPOSE: &str = "search";
/// Beginnings of words have their own terms at these lengths, in characters.
const SHORT: usize = 3;
const LONG: usize = 6;
/// Shorter words have no term: a single letter says little, and how often it stands where says much.
pub const MIN_WORD_CHARS: usize = 2;
/// Terms of one message. Of a longer one its first words are found, which are some hundreds.
pub const MAX_TERMS: usize = 512;

/// What a term stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    Sender(UserId),
    Link,
    /// A whole word; of a script that does not part its words two characters that follow each other, or one that stands alone.
    Word(String),
    /// The beginning of a word.
    Beginning(String),
}

impl Feature {
    pub fn term(&self, key: &HashKey) -> i64 {
        let (label, value): (u8, &[u8]) = match self {
            Self::Sender(user) => (b's', user.0.as_bytes()),
            Self::Link => (b'l', b""),
            Self::Word(word) => (b'w', word.as_bytes()),
            Self::Beginning(beginning) => (b'b', beginning.as_bytes()),
        };
        let hash = key.hash(&[&[label], value].concat());
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        i64::from_be_bytes(first)
    }
}

/// The terms of a message, in order, each once.
pub fn terms(key: &HashKey, sender: UserId, text: &str) -> Vec<i64> {
    let mut features = vec![Feature::Sender(sender)];
    features.extend(has_link(text).then_some(Feature::Link));
    let folded = fold(text);
    let (words, mut beginnings) = (runs(&folded).flat_map(words_of), Vec::new());
    for word in words {
        if let Feature::Word(text) = &word {
            beginnings.extend([SHORT, LONG].into_iter().filter_map(|length| beginning(text, length)));
        }
        features.push(word);
    }
    // Whole words first: of a long text those are to be found at least.
    features.extend(beginnings);
    let mut terms = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for feature in features {
        if terms.len() == MAX_TERMS {
            break;
        }
        if !seen.contains(&feature) {
            terms.push(feature.term(key));
            seen.insert(feature);
        }
    }
    terms.sort_unstable();
    terms.dedup();
    terms
}

/// The words that a run counts as.
pub fn words_of(run: Run<'_>) -> Vec<Feature> {
    let text = run.text();
    if !run.dense {
        let long_enough = text.chars().nth(MIN_WORD_CHARS - 1).is_some();
        return long_enough.then_some(Feature::Word(text)).into_iter().collect();
    }
    match run.characters {
        [_] => vec![Feature::Word(text)],
        characters => characters
            .windows(2)
            .map(|pair| Feature::Word(pair.iter().map(|folded| folded.character).collect()))
            .collect(),
    }
}

/// The term by which words that begin so are looked up; none for beginnings that are too short.
pub fn lookup(begin: &str) -> Option<Feature> {
    [LONG, SHORT].into_iter().find_map(|length| beginning(begin, length))
}

fn beginning(word: &str, length: usize) -> Option<Feature> {
    let end = word.char_indices().map(|(at, _)| at).chain([word.len()]).nth(length)?;
    Some(Feature::Beginning(word[..end].to_owned()))
}

#[cfg(test)]
mod tests {
    use sealpost_sealing::{ConversationKey, Suite};
    use uuid::Uuid;

    use super::*;

    fn key(number: u128) -> HashKey {
        ConversationKey::generate(Uuid::from_u128(number), 1, Suite::default()).hash_key(PURPOSE)
    }

    fn has(terms: &[i64], key: &HashKey, feature: &Feature) -> bool {
        terms.contains(&feature.term(key))
    }

    #[test]
    fn a_message_has_the_terms_of_its_words_beginnings_sender_and_link() {
        let (key, ann) = (key(1), UserId::new());
        let found = terms(&key, ann, "Ein Spaziergang zu 東京都: https://example.org, I");
        for feature in [
            Feature::Sender(ann),
            Feature::Link,
            Feature::Word("ein".to_owned()),
            Feature::Beginning("ein".to_owned()),
            Feature::Word("spaziergang".to_owned()),
            Feature::Beginning("spa".to_owned()),
            Feature::Beginning("spazie".to_owned()),
            Feature::Word("zu".to_owned()),
            Feature::Word("東京".to_owned()),
            Feature::Word("京都".to_owned()),
        ] {
            assert!(has(&found, &key, &feature), "{feature:?}");
        }
        for feature in [
            Feature::Word("i".to_owned()),
            Feature::Word("京".to_owned()),
            Feature::Word("spa".to_owned()),
            Feature::Beginning("zu".to_owned()),
            Feature::Sender(UserId::new()),
        ] {
            assert!(!has(&found, &key, &feature), "{feature:?}");
        }
        assert_eq!(terms(&key, ann, "no no NO").len(), 2);
    }

    #[test]
    fn terms_of_two_conversations_have_nothing_in_common() {
        let (ann, text) = (UserId::new(), "the same words, and the same sender");
        let (one, other) = (terms(&key(1), ann, text), terms(&key(2), ann, text));
        assert_eq!(one.len(), other.len());
        assert!(one.iter().all(|term| !other.contains(term)));
    }

    #[test]
    fn the_terms_of_a_message_are_bounded_and_whole_words_come_first() {
        let key = key(1);
        let text = (0..3000).map(|number| format!("number{number}")).collect::<Vec<_>>().join(" ");
        let found = terms(&key, UserId::new(), &text);
        assert_eq!(found.len(), MAX_TERMS);
        assert!(has(&found, &key, &Feature::Word("number500".to_owned())));
    }

    #[test]
    fn a_beginning_is_looked_up_by_the_longest_that_is_kept() {
        let of = |text: &str| lookup(text);
        assert_eq!(of("ab"), None);
        assert_eq!(of("abcde"), Some(Feature::Beginning("abc".to_owned())));
        assert_eq!(of("über-"), Some(Feature::Beginning("übe".to_owned())));
        assert_eq!(of("abcdefg"), Some(Feature::Beginning("abcdef".to_owned())));
    }
}
