//! Subjects: dot-separated tokens of ASCII letters, digits, `-` and `_`.
//!
//! They are validated where they are built, so an id that holds `.`, `*`, `>` or a space can never widen a
//! subscription or a permission.

use std::fmt;
use std::sync::Arc;

/// A checked subject. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a subject: use tokens of letters, digits, '-' and '_' joined by single dots")]
pub struct SubjectError(String);

impl Subject {
    /// A subject to publish to: no wildcards.
    pub fn new(text: impl AsRef<str>) -> Result<Self, SubjectError> {
        Self::checked(text.as_ref(), is_plain)
    }

    /// A subject to subscribe to: a token may be `*` (any one token), the last may be `>` (one or more tokens).
    pub fn pattern(text: impl AsRef<str>) -> Result<Self, SubjectError> {
        let text = text.as_ref();
        let body = text.strip_suffix(".>").unwrap_or(text);
        Self::checked(body, |token| token == "*" || is_plain(token))?;
        Ok(Self(text.into()))
    }

    fn checked(text: &str, valid: impl Fn(&str) -> bool) -> Result<Self, SubjectError> {
        if text.len() <= 255 && text.split('.').all(valid) {
            Ok(Self(text.into()))
        } else {
            Err(SubjectError(text.into()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `subject` (no wildcards) falls under this pattern.
    pub fn matches(&self, subject: &Subject) -> bool {
        let mut names = subject.0.split('.');
        for token in self.0.split('.') {
            match (token, names.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (token, Some(name)) if token == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

fn is_plain(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_and_blanks_are_refused_in_plain_subjects() {
        for bad in ["", "a..b", "a.*", "a.>", "a b", ".a", "a.", "a.b\n", "ä"] {
            assert!(Subject::new(bad).is_err(), "{bad:?}");
        }
        assert!(Subject::new("chat.0198-ab_C").is_ok());
    }

    #[test]
    fn patterns_match_as_nats_does() {
        let matches = |p: &str, s: &str| Subject::pattern(p).unwrap().matches(&Subject::new(s).unwrap());
        assert!(matches("chat.>", "chat.a"));
        assert!(matches("chat.>", "chat.a.b"));
        assert!(!matches("chat.>", "chat"));
        assert!(matches("chat.*", "chat.a"));
        assert!(!matches("chat.*", "chat.a.b"));
        assert!(matches("chat.*.b", "chat.a.b"));
        assert!(!matches("chat.a", "chat.b"));
    }
}
