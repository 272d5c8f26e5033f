//! Text as it is compared: without the differences that a person who searches does not mean.
//!
//! Compatibility forms are the same (NFKC), and so are upper and lower case, and letters with and without accents, points or other marks
//! of their script. What comes out is composed again, so that scripts which need their marks, such as Devanagari, and Korean syllables
//! stay whole. Every character knows where in the text it came from.

use unicode_normalization::UnicodeNormalization as _;
use unicode_segmentation::UnicodeSegmentation as _;

/// A folded character, and the characters of the text that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    pub character: char,
    /// Of the text, in characters (Unicode scalar values).
    pub start: usize,
    pub end: usize,
}

pub fn fold(text: &str) -> Vec<Folded> {
    let mut folded = Vec::with_capacity(text.len());
    let mut start = 0;
    // What a person takes for one character may be several: it is folded, and later shown, as one.
    for cluster in text.graphemes(true) {
        let end = start + cluster.chars().count();
        if let [byte] = cluster.as_bytes() {
            folded.push(Folded { character: char::from(byte.to_ascii_lowercase()), start, end });
        } else {
            folded.extend(fold_cluster(cluster).map(|character| Folded { character, start, end }));
        }
        start = end;
    }
    folded
}

fn fold_cluster(cluster: &str) -> impl Iterator<Item = char> {
    let mut bare = String::with_capacity(cluster.len());
    for character in cluster.nfkd().flat_map(char::to_lowercase) {
        let before = bare.chars().next_back();
        match character {
            // «й» is a letter of its own, and no accented «и».
            '\u{306}' if before == Some('и') => bare.push(character),
            mark if is_accent(mark) || is_ignored(mark) => {}
            'ß' => bare.push_str("ss"),
            'æ' => bare.push_str("ae"),
            'œ' => bare.push_str("oe"),
            'þ' => bare.push_str("th"),
            'ø' => bare.push('o'),
            'đ' | 'ð' => bare.push('d'),
            'ł' => bare.push('l'),
            'ħ' => bare.push('h'),
            'ŧ' => bare.push('t'),
            'ı' => bare.push('i'),
            'ς' => bare.push('σ'),
            other => bare.push(other),
        }
    }
    bare.nfc().collect::<Vec<_>>().into_iter()
}

/// Marks that one may leave out: accents, points of Hebrew, vowels of Arabic.
fn is_accent(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{487}' | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}'
        | '\u{5c4}'..='\u{5c5}' | '\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{6d6}'..='\u{6dc}' | '\u{6df}'..='\u{6e4}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// What has no look of its own: hyphens that show only at the end of a line, joiners, marks of direction, lengthening of Arabic.
fn is_ignored(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{640}' | '\u{180b}'..='\u{180f}' | '\u{200c}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{e0100}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        fold(text).into_iter().map(|folded| folded.character).collect()
    }

    #[test]
    fn what_people_take_for_the_same_is_the_same() {
        for (one, other) in [
            ("Straße", "STRASSE"),
            ("ﬁnden", "finden"),
            ("ＡＢＣ１２３", "abc123"),
            ("café", "cafe\u{301}"),
            ("Crème Brûlée", "creme brulee"),
            ("İstanbul", "istanbul"),
            ("IĞDIR", "igdir"),
            ("Łódź", "lodz"),
            ("Ærøskøbing", "aeroskobing"),
            ("Þórr", "thorr"),
            ("Tiếng Việt", "tieng viet"),
            ("ΟΔΥΣΣΕΎΣ", "οδυσσευσ"),
            ("ὀδυσσεύς", "οδυσσευσ"),
            ("Ёлка", "елка"),
            ("МОЙ", "мой"),
            ("שָׁלוֹם", "שלום"),
            ("مُحَمَّد", "محمد"),
            ("مـحـمـد", "محمد"),
            ("أحمد", "احمد"),
            ("می\u{200c}خواهم", "میخواهم"),
            ("ex\u{ad}ample", "example"),
            ("ｶﾞﾗｽ", "ガラス"),
            ("か\u{3099}", "が"),
            ("한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
            ("①②", "12"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} and {other}");
        }
    }

    #[test]
    fn what_differs_stays_different() {
        for (one, other) in [("мой", "мои"), ("हिन्दी", "हन्द"), ("が", "か"), ("ガ", "カ"), ("한", "하"), ("กา", "กำ")]
        {
            assert_ne!(folded(one), folded(other), "{one} and {other}");
        }
    }

    #[test]
    fn every_character_knows_where_it_came_from() {
        let text = "e\u{301}ß👩‍👩‍👧x";
        let places: Vec<_> = fold(text).iter().map(|folded| (folded.character, folded.start, folded.end)).collect();
        assert_eq!(places[..3], [('e', 0, 2), ('s', 2, 3), ('s', 2, 3)]);
        assert_eq!(places.last(), Some(&('x', 8, 9)), "{places:?}");
        assert_eq!(text.chars().count(), 9);
        assert_eq!(fold(""), []);
    }
}
