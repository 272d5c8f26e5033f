use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::*;

/// Sessions end after their tokens.
const LATER: Timestamp = Timestamp(i64::MAX);

/// One key, its tokens, and tokens that only look like them.
struct Forge {
    text: SecretString,
    tokens: Tokens,
    clock: Clock,
}

impl Forge {
    fn new() -> Self {
        let (text, clock) = (SigningKey::generate(), Clock::default());
        let tokens = Tokens::new(&AuthConfig::default(), vec![SigningKey::parse(&text).unwrap()], clock.clone());
        Self { text, tokens, clock }
    }

    fn key(&self) -> SigningKey {
        SigningKey::parse(&self.text).unwrap()
    }

    fn public(&self) -> Vec<u8> {
        let seed = URL_SAFE_NO_PAD.decode(self.text.expose_secret().trim_end_matches('=')).unwrap();
        Ed25519KeyPair::from_seed_unchecked(&seed).unwrap().public_key().as_ref().to_vec()
    }

    fn header(&self) -> Header {
        Header { typ: Some(TYPE.to_owned()), kid: Some(self.key().kid), ..Header::new(Algorithm::EdDSA) }
    }

    fn claims(&self) -> Value {
        let now = self.clock.now().millis() / 1000;
        json!({ "iss": "sealpost", "aud": "sealpost", "sub": UserId::new(), "sid": SessionId::new(), "iat": now, "exp": now + 900 })
    }

    /// Signed with the real key.
    fn sign(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key().encoding).unwrap()
    }

    fn with(&self, name: &str, value: Value) -> String {
        let mut claims = self.claims();
        claims[name] = value;
        self.sign(&self.header(), &claims)
    }

    fn without(&self, name: &str) -> String {
        let mut claims = self.claims();
        claims.as_object_mut().unwrap().remove(name).unwrap();
        self.sign(&self.header(), &claims)
    }

    #[track_caller]
    fn refused(&self, token: &str) {
        assert_eq!(self.tokens.verify(token), Err(TokenError::Invalid), "{token}");
    }
}

fn segment(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[test]
fn an_issued_token_says_who_and_until_when() {
    let forge = Forge::new();
    let (user, session) = (UserId::new(), SessionId::new());
    let before = forge.clock.now().millis() / 1000;
    let (token, expires_in) = forge.tokens.issue(user, session, LATER).unwrap();
    let claims = forge.tokens.verify(&token).unwrap();
    assert_eq!((claims.user_id, claims.session_id, expires_in), (user, session, 900));
    assert!((before + 900..before + 905).contains(&(claims.expires_at.millis() / 1000)));
    let header = decode_header(&token).unwrap();
    assert_eq!((header.typ.as_deref(), header.kid), (Some("at+jwt"), Some(forge.key().kid)));
    // The forge makes good tokens, so that each refusal below has one reason only.
    assert!(forge.tokens.verify(&forge.sign(&forge.header(), &forge.claims())).is_ok());
}

#[test]
fn the_given_clock_decides_about_expiry() {
    let forge = Forge::new();
    let (token, _) = forge.tokens.issue(UserId::new(), SessionId::new(), LATER).unwrap();
    forge.clock.step(903_000);
    assert!(forge.tokens.verify(&token).is_ok(), "clocks may differ by 5 s");
    forge.clock.step(3_000);
    assert_eq!(forge.tokens.verify(&token), Err(TokenError::Expired));
    forge.clock.step(-900_000);
    assert!(forge.tokens.verify(&token).is_ok());
}

#[test]
fn alg_none_is_refused() {
    let forge = Forge::new();
    for alg in ["none", "None", "NONE", ""] {
        let header = segment(&json!({ "alg": alg, "typ": TYPE, "kid": forge.key().kid }));
        let claims = segment(&forge.claims());
        forge.refused(&format!("{header}.{claims}."));
        forge.refused(&format!("{header}.{claims}"));
    }
}

#[test]
fn the_public_key_as_hmac_secret_is_refused() {
    let forge = Forge::new();
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let header = Header { alg: algorithm, ..forge.header() };
        for secret in [forge.public(), URL_SAFE_NO_PAD.encode(forge.public()).into_bytes()] {
            forge.refused(&encode(&header, &forge.claims(), &EncodingKey::from_secret(&secret)).unwrap());
        }
    }
}

#[test]
fn missing_and_misshapen_claims_are_refused() {
    let forge = Forge::new();
    for name in ["exp", "iat", "iss", "aud", "sub", "sid"] {
        forge.refused(&forge.without(name));
        forge.refused(&forge.with(name, Value::Null));
        forge.refused(&forge.with(name, json!({ "a": 1 })));
    }
    let later = forge.clock.now().millis() / 1000 + 900;
    forge.refused(&forge.with("exp", json!(later.to_string())));
    forge.refused(&forge.with("exp", json!(1e300)));
    forge.refused(&forge.with("nbf", json!(later)));
    forge.refused(&forge.with("sub", json!("root")));
    assert_eq!(forge.tokens.verify(&forge.with("exp", json!(-1))), Err(TokenError::Invalid));
    assert_eq!(forge.tokens.verify(&forge.with("exp", json!(1))), Err(TokenError::Expired));
}

#[test]
fn another_audience_or_issuer_is_refused() {
    let forge = Forge::new();
    for name in ["aud", "iss"] {
        for value in [json!("other"), json!(""), json!("Sealpost"), json!(["sealpost"]), json!(["sealpost", "other"])] {
            forge.refused(&forge.with(name, value));
        }
    }
}

#[test]
fn another_type_is_refused() {
    let forge = Forge::new();
    for typ in [None, Some("JWT"), Some("AT+JWT"), Some("refresh+jwt")] {
        forge.refused(&forge.sign(&Header { typ: typ.map(str::to_owned), ..forge.header() }, &forge.claims()));
    }
}

#[test]
fn an_unknown_kid_is_refused_whatever_it_says() {
    let forge = Forge::new();
    for kid in [
        None,
        Some(""),
        Some("0123456789abcdef"),
        Some("../../../../dev/null"),
        Some("x' UNION SELECT 'key"),
        Some("*"),
    ] {
        forge.refused(&forge.sign(&Header { kid: kid.map(str::to_owned), ..forge.header() }, &forge.claims()));
    }
}

#[test]
fn a_key_that_the_token_brings_is_not_used() {
    let (forge, attacker) = (Forge::new(), Forge::new());
    let header = Header { jku: Some("https://attacker.example/keys".to_owned()), ..forge.header() };
    forge.refused(&attacker.sign(&header, &forge.claims()));
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(attacker.public()) });
    let header = Header { jwk: Some(serde_json::from_value(jwk).unwrap()), ..forge.header() };
    forge.refused(&attacker.sign(&header, &forge.claims()));
}

#[test]
fn another_key_is_refused_with_its_own_kid_and_with_ours() {
    let (forge, other) = (Forge::new(), Forge::new());
    forge.refused(&other.sign(&other.header(), &forge.claims()));
    forge.refused(&other.sign(&forge.header(), &forge.claims()));
}

#[test]
fn every_truncation_and_every_changed_character_is_refused() {
    let forge = Forge::new();
    let (token, _) = forge.tokens.issue(UserId::new(), SessionId::new(), LATER).unwrap();
    for length in 0..token.len() {
        forge.refused(&token[..length]);
        let mut changed = token.clone().into_bytes();
        changed[length] = if changed[length] == b'A' { b'B' } else { b'A' };
        forge.refused(std::str::from_utf8(&changed).unwrap());
    }
    forge.refused(&format!("{token}."));
    forge.refused(&format!("{token}A"));
    forge.refused(&"a".repeat(10_000_000));
}

#[test]
fn after_a_rotation_old_tokens_are_still_good_and_new_ones_have_the_new_key() {
    let (old, new, clock) = (SigningKey::generate(), SigningKey::generate(), Clock::default());
    let tokens = |keys: &[&SecretString]| {
        let keys = keys.iter().map(|text| SigningKey::parse(text).unwrap()).collect();
        Tokens::new(&AuthConfig::default(), keys, clock.clone())
    };
    let (before, during, after) = (tokens(&[&old]), tokens(&[&new, &old]), tokens(&[&new]));
    let (old_token, _) = before.issue(UserId::new(), SessionId::new(), LATER).unwrap();
    let (new_token, _) = during.issue(UserId::new(), SessionId::new(), LATER).unwrap();
    assert!(during.verify(&old_token).is_ok() && during.verify(&new_token).is_ok());
    assert!(after.verify(&new_token).is_ok());
    assert_eq!(after.verify(&old_token), Err(TokenError::Invalid));
    assert_eq!(before.verify(&new_token), Err(TokenError::Invalid));
}

#[test]
fn without_a_key_nothing_is_issued_and_nothing_is_good() {
    let none = Tokens::new(&AuthConfig::default(), Vec::new(), Clock::default());
    assert!(matches!(none.issue(UserId::new(), SessionId::new(), LATER), Err(IssueError::NoKey)));
    let forge = Forge::new();
    let (token, _) = forge.tokens.issue(UserId::new(), SessionId::new(), LATER).unwrap();
    assert_eq!(none.verify(&token), Err(TokenError::Invalid));
}

#[test]
fn no_token_outlives_its_session() {
    let forge = Forge::new();
    let ends = forge.clock.now().plus(std::time::Duration::from_mins(1));
    let (token, expires_in) = forge.tokens.issue(UserId::new(), SessionId::new(), ends).unwrap();
    assert!((59..=60).contains(&expires_in), "{expires_in}");
    assert!(forge.tokens.verify(&token).unwrap().expires_at <= ends);
}
