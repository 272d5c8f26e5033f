//! Email addresses: checked for their shape, kept in lower case.

const MAX_BYTES: usize = 254;

/// Of the shape `name@host.domain`, in lower case. Only a message to it can show whether it exists.
pub fn normalize(email: &str) -> Option<String> {
    let email = email.trim();
    let (name, host) = email.split_once('@')?;
    let odd =
        |character: char| character.is_whitespace() || character.is_control() || "<>,;:\"()[]\\".contains(character);
    let labels = host.split('.').count() > 1 && host.split('.').all(|label| !label.is_empty());
    let good = !name.is_empty() && labels && email.len() <= MAX_BYTES && !host.contains('@') && !email.contains(odd);
    good.then(|| email.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails_of_the_usual_shape_are_taken_in_lower_case() {
        for (email, kept) in
            [("ada@example.org", "ada@example.org"), (" Ada.L+x@Mail.Example.ORG ", "ada.l+x@mail.example.org")]
        {
            assert_eq!(normalize(email).as_deref(), Some(kept));
        }
        let long = format!("{}@example.org", "a".repeat(250));
        for bad in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@example",
            "ada@.org",
            "ada@example.",
            "a@b@example.org",
            "a b@example.org",
            "ada@example.org\r\nBcc: x@example.org",
            "<ada@example.org>",
            "a\0b@example.org",
            &long,
        ] {
            assert!(normalize(bad).is_none(), "{bad}");
        }
    }
}
