//! Which passwords an account may have. No rules about kinds of characters: being hard to guess is what helps.

use zxcvbn::{Score, zxcvbn};

const MAX_BYTES: usize = 1024;
/// The estimate takes longer the more there is to look at, and what begins with this much that is good is good.
const MAX_ESTIMATED_CHARS: usize = 64;

/// The commonest passwords that are long enough, in lower case, from lists of leaked ones.
const COMMON: &str = include_str!("common_passwords.txt");

/// What a new password has to be.
#[derive(Clone, Copy, Debug)]
pub struct PasswordRules {
    /// In characters.
    pub min_length: usize,
    /// 0 to 4.
    pub min_strength: u8,
}

impl PasswordRules {
    /// `own`: words that belong to the account, such as its name and email; in any case. The error says what to do.
    pub fn check(self, password: &str, own: &[String]) -> Result<(), String> {
        let length = password.chars().count();
        if length < self.min_length {
            return Err(format!(
                "The password has {length} characters: use {} or more, several words are fine.",
                self.min_length
            ));
        }
        if password.len() > MAX_BYTES {
            return Err(format!("The password has {} bytes: use {MAX_BYTES} at most.", password.len()));
        }
        let lower = zeroize::Zeroizing::new(password.to_lowercase());
        // Shorter words are in many good passwords by chance.
        if own.iter().any(|word| word.len() >= 3 && lower.contains(&word.to_lowercase())) {
            return Err("The password contains the user name or the email. Choose one that does not.".to_owned());
        }
        let mut characters = lower.chars();
        let first = characters.next();
        if COMMON.lines().any(|common| common == lower.as_str()) || characters.all(|other| Some(other) == first) {
            return Err(
                "The password is among the first that anybody would try. Choose another, several words are fine."
                    .to_owned(),
            );
        }
        self.check_strength(password, own)
    }

    fn check_strength(self, password: &str, own: &[String]) -> Result<(), String> {
        let start: zeroize::Zeroizing<String> =
            zeroize::Zeroizing::new(password.chars().take(MAX_ESTIMATED_CHARS).collect());
        let mut known: Vec<&str> = own.iter().map(String::as_str).collect();
        known.push("sealpost");
        let estimate = zxcvbn(&start, &known);
        let needed = Score::try_from(self.min_strength).unwrap_or(Score::Four);
        if estimate.score() >= needed {
            return Ok(());
        }
        let why = estimate.feedback().and_then(zxcvbn::feedback::Feedback::warning);
        let why = why.map_or_else(String::new, |warning| format!(" ({})", warning.to_string().trim_end_matches('.')));
        Err(format!("The password is easy to guess{why}. Add another word or two that nobody would expect."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), String> {
        PasswordRules { min_length: 12, min_strength: 3 }.check(password, &["ada".to_owned(), "l@mail.org".to_owned()])
    }

    #[test]
    fn long_passwords_of_any_characters_are_good() {
        let long = "walrus lantern 47 ".repeat(56);
        for good in ["walrus lantern 47", "zwölf Boxkämpfer jagen", "korrekt pferd batterie", "tVq8w2LpX0cz", &long] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn short_long_obvious_and_own_names_are_refused() {
        for (bad, why) in [
            ("elevenchars", "has 11 characters"),
            ("ÄÖÜäöüÄÖÜäö", "has 11 characters"),
            (&"a".repeat(1025), "has 1025 bytes"),
            ("my name is ADA!", "contains the user name"),
            ("xx L@Mail.org xx", "contains the user name or the email"),
            ("Password1234", "first that anybody"),
            ("aaaaaaaaaaaaaaa", "first that anybody"),
            ("abcabcabcabcabc", "easy to guess"),
            ("qwertyuiop[]asdf", "easy to guess"),
            ("sealpost12345", "easy to guess"),
            (&"a1".repeat(300), "easy to guess"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn the_list_holds_nothing_that_other_rules_refuse() {
        assert!(COMMON.lines().count() > 150);
        for common in COMMON.lines() {
            assert!(common.len() >= 12 && common == common.to_lowercase(), "{common}");
        }
    }
}
