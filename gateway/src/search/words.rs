//! The words of a text.
//!
//! Where words are written apart, a word is a run of letters and digits. Where they are not (Chinese, Japanese, Thai, Lao, Khmer, Burmese)
//! and in Korean, whose words carry their endings, a run of characters is taken as it is, and looked into by pairs.

use unicode_normalization::char::is_combining_mark;

use super::fold::Folded;

/// So much of a word counts; what is longer is no word that people search for.
const MAX_WORD_CHARS: usize = 64;

/// A run of characters of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    pub characters: &'a [Folded],
    /// Of a script that does not part its words.
    pub dense: bool,
}

impl Run<'_> {
    /// As it is compared.
    pub fn text(&self) -> String {
        let counted = if self.dense { self.characters.len() } else { MAX_WORD_CHARS };
        self.characters.iter().take(counted).map(|folded| folded.character).collect()
    }

    /// The characters of the text that it stands for: from, up to.
    pub fn range(&self) -> (usize, usize) {
        range(self.characters)
    }
}

/// The characters of the text that these stand for: from, up to.
pub fn range(characters: &[Folded]) -> (usize, usize) {
    match (characters.first(), characters.last()) {
        (Some(first), Some(last)) => (first.start, last.end),
        _ => (0, 0),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Apart,
    Dense,
    Between,
}

fn kind(character: char) -> Kind {
    if !character.is_alphanumeric() && !is_combining_mark(character) && character != 'ー' {
        return Kind::Between;
    }
    if is_dense(character) { Kind::Dense } else { Kind::Apart }
}

/// The runs of a folded text, in order.
pub fn runs(folded: &[Folded]) -> impl Iterator<Item = Run<'_>> {
    folded.chunk_by(|one, next| kind(one.character) == kind(next.character)).filter_map(|characters| {
        match kind(characters.first()?.character) {
            Kind::Between => None,
            kind => Some(Run { characters, dense: kind == Kind::Dense }),
        }
    })
}

fn is_dense(character: char) -> bool {
    matches!(character,
        // Thai, Lao, Burmese, Khmer.
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{aa60}'..='\u{aa7f}'
        // Korean.
        | '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}'
        // Japanese, Bopomofo.
        | '\u{3040}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}' | '\u{31f0}'..='\u{31ff}' | '\u{1b000}'..='\u{1b16f}'
        // Han.
        | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}' | '\u{3031}'..='\u{303c}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Whether the text has an address of the web in it.
pub fn has_link(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["http://", "https://"].iter().any(|scheme| {
        lower.match_indices(scheme).any(|(at, _)| {
            let begins = lower[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric());
            let host = lower[at + scheme.len()..].chars().next();
            begins && host.is_some_and(|host| host.is_alphanumeric() || host == '[')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::fold::fold;
    use super::*;

    fn words(text: &str) -> Vec<(String, bool)> {
        runs(&fold(text)).map(|run| (run.text(), run.dense)).collect()
    }

    #[test]
    fn words_are_parted_where_people_part_them() {
        let apart = |text: &str| words(text).into_iter().map(|(word, _)| word).collect::<Vec<_>>().join(" ");
        for (text, expected) in [
            ("Don't panic: it's v2.0!", "don t panic it s v2 0"),
            ("foo_bar@example.org", "foo bar example org"),
            ("https://example.org/a?b=c", "https example org a b c"),
            ("हिन्दी में", "हिन्दी में"),
            ("iPhone買った。Wi-Fi", "iphone 買った wi fi"),
            ("ラーメン・カレー", "ラーメン カレー"),
            ("한국어로 말해요", "한국어로 말해요"),
            ("🎉👩‍👩‍👧!?", ""),
        ] {
            assert_eq!(apart(text), expected, "{text}");
        }
        assert_eq!(words("買う cat"), [("買う".to_owned(), true), ("cat".to_owned(), false)]);
        assert_eq!(words("ภาษาไทย").len(), 1, "vowels and marks stay with their letters");
        assert_eq!(words(&"x".repeat(100))[0].0.len(), MAX_WORD_CHARS);
    }

    #[test]
    fn links_are_seen() {
        for text in ["see https://example.org", "(HTTP://a)", "https://[::1]/", "\u{130}https://b.example"] {
            assert_eq!(has_link(text), !text.starts_with('\u{130}'), "{text}");
        }
        for text in ["https://", "http: //a", "xhttps://a", "example.org", ""] {
            assert!(!has_link(text), "{text}");
        }
    }
}
