//! Codes themselves: no store, no clock.

use sealpost_schema::UserId;
use sha2::{Digest as _, Sha256};
use totp_rs::{Builder, Secret, Totp, TotpError};
use zeroize::Zeroizing;

pub const RECOVERY_CODES: usize = 10;
/// What RFC 4226 recommends.
pub const SECRET_BYTES: usize = 20;
/// 80 bits: not to be guessed, so a fast hash is enough.
const RECOVERY_BYTES: usize = 10;
/// Without those that look like others.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

pub fn totp(secret: &[u8], issuer: &str, account: &str) -> Result<Totp, TotpError> {
    // SHA-1, six digits, 30 s, one step of skew: all that every app can do.
    // A colon separates issuer and account in what the app is shown.
    Builder::new()
        .with_secret(Secret::from(secret.to_vec()))
        .with_issuer(Some(issuer.replace(':', " ")))
        .with_account_name(account)
        .build()
}

/// `xxxx-xxxx-xxxx-xxxx`
pub fn new_recovery_code() -> Result<String, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; RECOVERY_BYTES]);
    getrandom::fill(bytes.as_mut_slice())?;
    let bits = bytes.iter().fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
    let letters = (0..16).map(|place| char::from(ALPHABET[usize::try_from((bits >> (place * 5)) & 31).unwrap_or(0)]));
    let text: String = letters.collect();
    Ok([&text[..4], &text[4..8], &text[8..12], &text[12..]].join("-"))
}

/// However it was typed; with the user, so that one code of two people has two hashes.
pub fn recovery_hash(user: UserId, code: &str) -> Vec<u8> {
    let code: Zeroizing<String> =
        Zeroizing::new(code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect());
    let mut hash = Sha256::new();
    hash.update(user.0.as_bytes());
    hash.update(code.as_bytes());
    hash.finalize().to_vec()
}

/// Digits, perhaps with a space in the middle.
pub fn is_totp(code: &str) -> bool {
    let digits = code.chars().filter(|character| !character.is_whitespace());
    digits.clone().count() == 6 && digits.clone().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc() {
        // RFC 6238, appendix B, the last six of its eight digits.
        let totp = totp(b"12345678901234567890", "Sealpost", "ada").unwrap();
        for (time, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(totp.check(code, time), Some(time / 30), "{time}");
            assert_eq!(totp.check(code, time + 30), Some(time / 30), "a step late");
            assert_eq!(totp.check(code, time + 90), None, "too late");
        }
    }

    #[test]
    fn recovery_codes_are_found_however_they_are_typed() {
        let (user, code) = (UserId::new(), new_recovery_code().unwrap());
        assert_eq!(code.len(), 19);
        let hash = recovery_hash(user, &code);
        assert_eq!(recovery_hash(user, &format!(" {} ", code.replace('-', " ").to_uppercase())), hash);
        assert_ne!(recovery_hash(UserId::new(), &code), hash);
        assert_ne!(new_recovery_code().unwrap(), code);
        assert!(is_totp("123456") && is_totp("123 456") && !is_totp("12345") && !is_totp(&code));
    }
}
