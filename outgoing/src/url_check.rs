//! What an address of a receiver may look like. Where it leads is checked when it is connected to.

use std::net::IpAddr;

use url::{Host, Url};

use crate::address::Networks;

pub const MAX_URL_BYTES: usize = 2000;

/// Why an address is not taken, as a sentence for whoever wrote it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("An address has at most {MAX_URL_BYTES} bytes.")]
    TooLong,
    #[error("This is no address. Write one such as https://example.org/hooks/sealpost.")]
    Unreadable,
    #[error("An address begins with https:// or http://.")]
    Scheme,
    #[error("An address holds no user name and no password: the receiver tells by the signature who asks.")]
    Credentials,
    #[error("An address has no part behind `#`: it would never be sent.")]
    Fragment,
    #[error("This address leads into a network that webhooks may not reach (webhooks.allowed_networks).")]
    Closed,
}

/// The address in its one form: `http://0x7f.1/` and `http://2130706433/` are `http://127.0.0.1/`. A number that leads where it must not
/// is refused here already; names are looked up when they are connected to.
pub fn check_url(text: &str, networks: &Networks) -> Result<Url, UrlError> {
    if text.len() > MAX_URL_BYTES {
        return Err(UrlError::TooLong);
    }
    let url = Url::parse(text).map_err(|_| UrlError::Unreadable)?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(UrlError::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    if url.fragment().is_some() {
        return Err(UrlError::Fragment);
    }
    let literal = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) => None,
        None => return Err(UrlError::Unreadable),
    };
    if literal.is_some_and(|address| !networks.permit(address)) {
        return Err(UrlError::Closed);
    }
    if url.as_str().len() > MAX_URL_BYTES { Err(UrlError::TooLong) } else { Ok(url) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_25_an_address_is_refused_however_it_is_written() {
        let check = |text: &str| check_url(text, &Networks::default());
        for (text, expected) in [
            ("http://127.0.0.1/", UrlError::Closed),
            ("http://127.1/", UrlError::Closed),
            ("http://2130706433/", UrlError::Closed),
            ("http://0x7f000001/", UrlError::Closed),
            ("http://0x7f.0.0.1/", UrlError::Closed),
            ("http://0177.0.0.1/", UrlError::Closed),
            ("http://017700000001/", UrlError::Closed),
            ("http://①②⑦.0.0.1/", UrlError::Closed),
            ("http://127。0。0。1/", UrlError::Closed),
            ("http://0/", UrlError::Closed),
            ("http://0.0.0.0:8080/", UrlError::Closed),
            ("http://[::1]/", UrlError::Closed),
            ("http://[::]/", UrlError::Closed),
            ("http://[::ffff:127.0.0.1]/", UrlError::Closed),
            ("http://[::ffff:7f00:1]/", UrlError::Closed),
            ("http://[0:0:0:0:0:ffff:a9fe:a9fe]/", UrlError::Closed),
            ("http://[64:ff9b::7f00:1]/", UrlError::Closed),
            ("https://169.254.169.254/latest/meta-data/", UrlError::Closed),
            ("https:169.254.169.254", UrlError::Closed),
            ("https:\\\\10.0.0.1\\x", UrlError::Closed),
            ("ht\ntp://10.0.0.1/", UrlError::Closed),
            ("file:///etc/passwd", UrlError::Scheme),
            ("gopher://example.org:70/_x", UrlError::Scheme),
            ("ftp://example.org/", UrlError::Scheme),
            ("dict://example.org:11211/", UrlError::Scheme),
            ("javascript:alert(1)", UrlError::Scheme),
            ("https://a:b@example.org/", UrlError::Credentials),
            ("https://example.org@127.0.0.1/", UrlError::Credentials),
            ("https://example.org/#x", UrlError::Fragment),
            ("https://", UrlError::Unreadable),
            ("//example.org/", UrlError::Unreadable),
            ("example.org", UrlError::Unreadable),
            ("http://256.1.1.1/", UrlError::Unreadable),
            ("", UrlError::Unreadable),
        ] {
            assert_eq!(check(text).unwrap_err(), expected, "{text}");
        }
        assert_eq!(check(&format!("https://example.org/{}", "x".repeat(2000))).unwrap_err(), UrlError::TooLong);
        let kept = check("HTTPS://Example.ORG:443/a b?x=1").unwrap();
        assert_eq!(kept.as_str(), "https://example.org/a%20b?x=1");
        assert!(check("http://8.8.8.8:8080/x").is_ok());
    }
}
