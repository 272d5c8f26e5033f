//! What is searched for: the words of a query, the terms that they are looked up by, and where they stand in a text.
//!
//! The index only proposes messages. What is shown was opened and compared here, so a term that two words share, or one that stands there
//! although its message has changed, shows nothing wrong.

use std::collections::BTreeSet;

use super::fold::{Folded, fold};
use super::terms::{Feature, lookup, words_of};
use super::words::{range, runs};

/// The longest query, in characters.
pub const MAX_QUERY_CHARS: usize = 256;
/// Words of a query.
pub const MAX_WORDS: usize = 16;
/// Ranges that are told of one message.
const MAX_HIGHLIGHTS: usize = 50;

/// One word, or one run of a script that does not part its words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    text: String,
    dense: bool,
    /// It is the beginning of a word.
    begins: bool,
}

/// The words of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pieces: Vec<Piece>,
    /// What they are looked up by, the most telling first.
    pub features: Vec<Feature>,
}

/// Characters of a text: where they begin, and how many they are.
pub type Range = (usize, usize);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("q has {0} characters: use 1 to {MAX_QUERY_CHARS}.")]
    TooLong(usize),
    #[error("q has {0} words: use {MAX_WORDS} at most.")]
    TooManyWords(usize),
    #[error(
        "q has nothing to search for: write a word of at least two letters or digits. Single letters and signs are not indexed."
    )]
    NoWord,
}

impl Wanted {
    /// The last word may be the beginning of one, unless something comes after it, such as a space.
    ///
    /// # Errors
    /// It has nothing that can be looked up, or too much.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let length = query.chars().count();
        if length > MAX_QUERY_CHARS {
            return Err(QueryError::TooLong(length));
        }
        let folded = fold(query);
        let mut wanted = Self::default();
        let (mut features, mut alone) = (BTreeSet::new(), BTreeSet::new());
        for run in runs(&folded) {
            let text = run.text();
            let beginning = lookup(&text).filter(|_| !run.dense && run.range().1 == length);
            let begins = beginning.is_some();
            match beginning {
                Some(beginning) => drop(features.insert(beginning)),
                // It has a term only where it stands alone, and may be found anywhere if there are other words.
                None if run.dense && run.characters.len() == 1 => alone.extend(words_of(run)),
                None => features.extend(words_of(run)),
            }
            let piece = Piece { text, dense: run.dense, begins };
            if !wanted.pieces.contains(&piece) {
                wanted.pieces.push(piece);
            }
        }
        if wanted.pieces.len() > MAX_WORDS {
            return Err(QueryError::TooManyWords(wanted.pieces.len()));
        }
        if features.is_empty() {
            features = alone;
        }
        if features.is_empty() {
            return Err(QueryError::NoWord);
        }
        wanted.features = features.into_iter().collect();
        // Long words are rare, and beginnings are more frequent than words.
        wanted.features.sort_by_key(|feature| match feature {
            Feature::Word(word) => std::cmp::Reverse(2 * word.chars().count() + usize::from(!word.is_ascii())),
            Feature::Beginning(beginning) => std::cmp::Reverse(beginning.chars().count()),
            Feature::Sender(_) | Feature::Link => std::cmp::Reverse(usize::MAX),
        });
        Ok(wanted)
    }

    /// Where the words stand, in order and without overlaps, the first ones of many; `None`: the text lacks one.
    pub fn find_in(&self, text: &str) -> Option<Vec<Range>> {
        let folded = fold(text);
        let mut found = Vec::new();
        for piece in &self.pieces {
            let before = found.len();
            for run in runs(&folded).filter(|run| run.dense == piece.dense) {
                piece.find_in(run.characters, &run.text(), &mut found);
            }
            if found.len() == before {
                return None;
            }
        }
        Some(joined(found))
    }
}

impl Piece {
    fn find_in(&self, characters: &[Folded], text: &str, found: &mut Vec<(usize, usize)>) {
        if self.dense {
            let length = self.text.chars().count();
            let same = |window: &&[Folded]| window.iter().map(|folded| folded.character).eq(self.text.chars());
            found.extend(characters.windows(length).filter(same).map(range));
        } else if self.begins && text.starts_with(&self.text) {
            let length = self.text.chars().count();
            found.push(range(&characters[..length.min(characters.len())]));
        } else if text == self.text {
            found.push(range(characters));
        }
    }
}

/// From and up to, as begin and length, without overlaps.
fn joined(mut found: Vec<(usize, usize)>) -> Vec<Range> {
    found.sort_unstable();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for (start, end) in found {
        match ranges.last_mut() {
            Some(last) if start < last.1 => last.1 = last.1.max(end),
            _ => ranges.push((start, end)),
        }
    }
    ranges.truncate(MAX_HIGHLIGHTS);
    ranges.into_iter().map(|(start, end)| (start, end - start)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(query: &str, text: &str) -> Option<Vec<String>> {
        let characters: Vec<char> = text.chars().collect();
        let ranges = Wanted::parse(query).unwrap().find_in(text)?;
        Some(ranges.into_iter().map(|(start, length)| characters[start..start + length].iter().collect()).collect())
    }

    #[test]
    fn words_are_found_and_shown_as_they_were_written() {
        let text = "Crème BRÛLÉE is a dessert; so is cre\u{301}me caramel. Ｔｅａ!";
        for (query, expected) in [
            ("creme", Some(vec!["Crème", "cre\u{301}me"])),
            ("dessert brulee", Some(vec!["BRÛLÉE", "dessert"])),
            ("CARA", Some(vec!["cara"])),
            ("cara ", None),
            ("cara dessert", None),
            ("tea", Some(vec!["Ｔｅａ"])),
            ("so is a caram", Some(vec!["is", "a", "so", "is", "caram"])),
            ("coffee", None),
            ("dessert coffee", None),
        ] {
            let expected = expected.map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(found(query, text), expected, "{query}");
        }
    }

    #[test]
    fn scripts_without_spaces_are_looked_into() {
        for (query, text, expected) in [
            ("東京", "明日は東京都に行く。東京だ", Some(vec!["東京", "東京"])),
            ("京都", "明日は東京都に行く", Some(vec!["京都"])),
            ("東都", "東京都", None),
            ("학교", "학교에서 만나요", Some(vec!["학교"])),
            ("ไทย", "ภาษาไทยง่าย", Some(vec!["ไทย"])),
            ("ﾗｰﾒﾝ", "ラーメンを食べた", Some(vec!["ラーメン"])),
            ("iphone 買", "iPhoneを買った", Some(vec!["iPhone", "買"])),
        ] {
            let expected = expected.map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(found(query, text), expected, "{query}");
        }
    }

    #[test]
    fn what_is_written_can_be_found_by_every_query_that_finds_it_in_the_text() {
        // The index proposes by terms; what the text holds must have those terms.
        use super::super::terms::{PURPOSE, terms};
        use sealpost_schema::UserId;
        use sealpost_sealing::{ConversationKey, Suite};
        let key = ConversationKey::generate(uuid::Uuid::nil(), 1, Suite::default()).hash_key(PURPOSE);
        let texts =
            ["Grüße aus Łódź um 7 Uhr, don't panic", "東京都のラーメン is 最高", "ﬁne STRASSE x 한국어로", "a b cd"];
        let queries = [
            "gru",
            "GRÜSSE",
            "lodz uhr",
            "uhr 7",
            "don't",
            "panic ",
            "東京",
            "ラーメン 最高",
            "strasse",
            "fine",
            "한국",
            "cd b",
        ];
        let mut hits = 0;
        for text in texts {
            let indexed = terms(&key, UserId::new(), text);
            for query in queries {
                let wanted = Wanted::parse(query).unwrap();
                if wanted.find_in(text).is_some() {
                    hits += 1;
                    assert!(
                        wanted.features.iter().all(|feature| indexed.contains(&feature.term(&key))),
                        "{query}: {text}"
                    );
                }
            }
        }
        assert_eq!(hits, queries.len());
    }

    #[test]
    fn queries_that_cannot_be_searched_for_say_why() {
        assert_eq!(Wanted::parse("  !? x 🎉"), Err(QueryError::NoWord));
        assert_eq!(Wanted::parse(&"x".repeat(257)), Err(QueryError::TooLong(257)));
        let many = (10..30).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ");
        assert_eq!(Wanted::parse(&many), Err(QueryError::TooManyWords(20)));
        assert!(Wanted::parse("'; DROP TABLE events; --").is_ok());
    }

    #[test]
    fn overlaps_are_one_range() {
        assert_eq!(found("東京都 京都", "東京都"), Some(vec!["東京都".to_owned()]));
        assert_eq!(found("abc", &"abc ".repeat(100)).map(|words| words.len()), Some(MAX_HIGHLIGHTS));
    }
}
