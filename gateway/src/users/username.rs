//! User names: 3 to 32 of `a-z`, `0-9`, `.`, `_` and `-`, the same in upper and lower case.

/// What to tell those who got it wrong.
pub const RULE: &str = "A user name has 3 to 32 letters a to z, digits, '.', '_' and '-'.";

/// The name as the database has it, or nothing if nobody can be called that. ASCII only: no letters that look like others.
pub fn normalize(text: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    ((3..=32).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_in_lower_case() {
        assert_eq!(normalize("Ada.Lovelace_1-x").as_deref(), Some("ada.lovelace_1-x"));
        assert_eq!(normalize("abc").as_deref(), Some("abc"));
        assert!(normalize(&"a".repeat(32)).is_some());
    }

    #[test]
    fn what_cannot_be_a_name_is_none() {
        for bad in [
            "",
            "ab",
            &"a".repeat(33),
            "a b",
            " ada",
            "ada\0",
            "ädä",
            "ad%",
            "ada/",
            "ada@b",
            "аda",
            "\u{212a}ate",
            "ada\n",
        ] {
            assert_eq!(normalize(bad), None, "{bad:?}");
        }
    }
}
