//! Results as the API shows them.

use serde::Serialize;

use super::wanted::Range;
use crate::messages::MessageResponse;

/// Longer texts get a snippet.
const LONG_CHARS: usize = 300;
/// A snippet has so many characters, of which so many stand before the first highlight.
const SNIPPET_CHARS: usize = 240;
const BEFORE_CHARS: usize = 60;

#[derive(Serialize, utoipa::ToSchema)]
pub struct SearchResponse {
    /// Newest first, by the second in which they were sent. May be fewer than `limit`, even none, and yet there are more.
    pub results: Vec<SearchResult>,
    /// For the next page; missing: there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// The caller takes part in more than 1,000 conversations, and only those joined last were searched. Name one by `conversation_id`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct SearchResult {
    pub message: MessageResponse,
    /// Where the words stand in the message's text, in order, without overlaps: the first 50. Empty if no words were searched for.
    pub highlights: Vec<Highlight>,
    /// Of a text of more than 300 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippet: Option<Snippet>,
}

/// A part of a text. Counted are characters: Unicode scalar values, as Python counts them; neither bytes nor UTF-16 units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Highlight {
    pub start: usize,
    pub length: usize,
}

/// The part of a long text around the first highlight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Snippet {
    /// Where it begins in the text, in characters.
    pub start: usize,
    pub text: String,
}

impl SearchResult {
    pub fn new(message: MessageResponse, ranges: &[Range]) -> Self {
        let highlights = ranges.iter().map(|&(start, length)| Highlight { start, length }).collect();
        let first = ranges.first().map_or(0, |(start, _)| *start);
        let snippet = message.text.as_deref().and_then(|text| snippet(text, first));
        Self { message, highlights, snippet }
    }
}

/// Begins after a blank, if there is one in reach.
fn snippet(text: &str, first: usize) -> Option<Snippet> {
    text.chars().nth(LONG_CHARS)?;
    let reach = first.saturating_sub(BEFORE_CHARS);
    let before: Vec<char> = text.chars().skip(reach).take(first - reach).collect();
    let blank = before.iter().position(|character| character.is_whitespace()).filter(|_| reach > 0);
    let start = blank.map_or(reach, |blank| reach + blank + 1);
    Some(Snippet { start, text: text.chars().skip(start).take(SNIPPET_CHARS).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_get_a_part_around_the_first_highlight() {
        assert_eq!(snippet(&"x".repeat(300), 5), None);
        let text = format!("{}needle {}", "grüß ".repeat(100), "hay ".repeat(100));
        let snippet = snippet(&text, 500).unwrap();
        assert!(snippet.text.starts_with("grüß ") && snippet.start > 430 && snippet.start < 500, "{snippet:?}");
        assert_eq!(snippet.text.chars().count(), SNIPPET_CHARS);
        assert_eq!(text.chars().nth(500), snippet.text.chars().nth(500 - snippet.start));
        assert_eq!(super::snippet(&"y".repeat(400), 0).unwrap().start, 0);
        let unbroken = super::snippet(&"y".repeat(900), 800).unwrap();
        assert_eq!((unbroken.start, unbroken.text.len()), (740, 160));
    }
}
