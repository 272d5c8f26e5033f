//! Which algorithm seals: a closed list of suites with stable names.

use std::fmt;

/// An encryption algorithm together with its key length and token format.
///
/// Name and code of a suite are stored beside every message for ever: they are never changed and never given to another
/// suite. Codes 2 (`aes-256-gcm`), 3 (`chacha20-poly1305`) and 4 (`aes-256-cbc-hmac`) are reserved for suites to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// AES-128-CBC with HMAC-SHA256 and a random initialisation vector, key of 32 bytes
    /// (<https://github.com/fernet/spec>). Text `fernet`, code 1.
    #[default]
    Fernet,
}

impl Suite {
    /// The stable name, as in envelopes, wrapped keys, configuration and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fernet => "fernet",
        }
    }

    /// The suite of that exact name, or `None` for a name that this release does not know.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "fernet" => Some(Self::Fernet),
            _ => None,
        }
    }

    /// The stable byte in bound headers.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Fernet => 1,
        }
    }

    /// The suite of that code, or `None` for a code that this release does not know.
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Fernet),
            _ => None,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Suite;

    #[test]
    fn names_and_codes_are_stable_and_lead_back_to_the_suite() {
        assert_eq!((Suite::Fernet.name(), Suite::Fernet.code()), ("fernet", 1));
        assert_eq!(Suite::from_name(Suite::Fernet.name()), Some(Suite::Fernet));
        assert_eq!(Suite::from_code(Suite::Fernet.code()), Some(Suite::Fernet));
    }

    #[test]
    fn a_name_is_matched_to_the_letter() {
        for name in ["", "Fernet", "fernet ", "fernet2", "aes-256-gcm"] {
            assert_eq!(Suite::from_name(name), None, "{name:?}");
        }
    }
}
