//! Which passwords a new account may have. No rules about kinds of characters: length is what helps.

use sealpost_schema::ProblemKind;

use crate::problem::ApiError;

const MAX_BYTES: usize = 1024;

/// The first that are tried, of those that are long enough.
const OBVIOUS: [&str; 24] = [
    "password1234",
    "password12345",
    "password123456",
    "passwordpassword",
    "passw0rd1234",
    "123456789012",
    "1234567890123",
    "12345678901234",
    "1234567890123456",
    "012345678901",
    "abcdefghijkl",
    "abcdefghijklmnop",
    "abcd1234abcd1234",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiopasdf",
    "qwerty123456",
    "1q2w3e4r5t6y",
    "iloveyou1234",
    "letmeinletmein",
    "adminadminadmin",
    "administrator",
    "changemechangeme",
    "correcthorsebatterystaple",
];

/// `username` is in lower case.
pub fn check(password: &str, username: &str, min_length: usize) -> Result<(), ApiError> {
    let weak = |detail: String| Err(ApiError::new(ProblemKind::WeakPassword, detail));
    let length = password.chars().count();
    if length < min_length {
        return weak(format!(
            "The password has {length} characters: use {min_length} or more, several words are fine."
        ));
    }
    if password.len() > MAX_BYTES {
        return weak(format!("The password has {} bytes: use {MAX_BYTES} at most.", password.len()));
    }
    let lower = zeroize::Zeroizing::new(password.to_lowercase());
    if lower.contains(username) {
        return weak("The password contains the user name. Choose one that does not.".to_owned());
    }
    let mut characters = lower.chars();
    let first = characters.next();
    if OBVIOUS.contains(&lower.as_str()) || characters.all(|character| Some(character) == first) {
        return weak(
            "The password is among the first that anybody would try. Choose another, several words are fine."
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_passwords_of_any_characters_are_good() {
        for good in ["correct horse battery", "zwölf Boxkämpfer", "            x", &"ab".repeat(512)] {
            assert!(check(good, "ada", 12).is_ok(), "{good}");
        }
    }

    #[test]
    fn short_long_obvious_and_own_names_are_refused() {
        for (bad, why) in [
            ("elevenchars", "has 11 characters"),
            ("ÄÖÜäöüÄÖÜäö", "has 11 characters"),
            (&"a".repeat(1025), "has 1025 bytes"),
            ("my name is ADA!", "contains the user name"),
            ("Password1234", "first that anybody"),
            ("aaaaaaaaaaaaaaa", "first that anybody"),
        ] {
            let error = check(bad, "ada", 12).unwrap_err().0;
            assert_eq!(error.kind, ProblemKind::WeakPassword);
            assert!(error.detail.contains(why), "{bad}: {}", error.detail);
        }
    }

    #[test]
    fn the_list_holds_nothing_that_other_rules_refuse() {
        for obvious in OBVIOUS {
            assert!(obvious.len() >= 12 && obvious == obvious.to_lowercase(), "{obvious}");
        }
    }
}
