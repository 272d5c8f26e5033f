//! The token in which a provider says who somebody is. OpenID Connect Core 3.1.3.7, RFC 8725.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use sealpost_schema::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Clocks of others may be off by so much.
const LEEWAY_SECONDS: i64 = 60;
const MAX_TOKEN_BYTES: usize = 64 * 1024;
const MAX_SUBJECT_BYTES: usize = 255;

/// What a token has to say.
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
}

/// Who somebody is, in the provider's words. None of it but the subject identifies anybody.
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    pub sub: String,
    aud: Value,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    nonce: Option<String>,
    azp: Option<String>,
    pub email: Option<String>,
    /// Some providers write text here; that counts as no.
    #[serde(default)]
    email_verified: Value,
    pub name: Option<String>,
    pub preferred_username: Option<String>,
}

impl Claims {
    /// The mail address, if the provider says that it has seen it proven.
    pub fn verified_email(&self) -> Option<&str> {
        self.email.as_deref().filter(|_| self.email_verified == Value::Bool(true))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    #[error("it is no token that can be read, or its algorithm is not taken")]
    Malformed,
    /// Perhaps one that is newer than what is known.
    #[error("it is signed with a key that the provider does not publish")]
    UnknownKey,
    #[error("signature, issuer or audience is wrong")]
    Wrong,
    #[error("it is for another client")]
    OtherClient,
    #[error("it answers another question: the nonce is wrong")]
    OtherNonce,
    #[error("it has expired, or is not good yet")]
    Time,
}

/// Who the token is about, if everything about it is right.
pub fn verify(token: &str, keys: &JwkSet, expected: &Expected<'_>, now: Timestamp) -> Result<Claims, TokenRefusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenRefusal::Malformed);
    }
    let header = decode_header(token).map_err(|_| TokenRefusal::Malformed)?;
    if header.crit.is_some() || !is_taken(header.alg) {
        return Err(TokenRefusal::Malformed);
    }
    let key = key(keys, header.kid.as_deref(), header.alg).ok_or(TokenRefusal::UnknownKey)?;
    let key = DecodingKey::from_jwk(key).map_err(|_| TokenRefusal::UnknownKey)?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    // By our own clock, below.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let claims = decode::<Claims>(token, &key, &validation).map_err(|_| TokenRefusal::Wrong)?.claims;
    check(claims, expected, now.millis() / 1000)
}

fn check(claims: Claims, expected: &Expected<'_>, now: i64) -> Result<Claims, TokenRefusal> {
    let several = claims.aud.as_array().is_some_and(|audience| audience.len() > 1);
    let party = claims.azp.as_deref();
    if party.is_some_and(|party| party != expected.client_id) || (several && party.is_none()) {
        return Err(TokenRefusal::OtherClient);
    }
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return Err(TokenRefusal::OtherNonce);
    }
    let early = |moment: i64| moment > now.saturating_add(LEEWAY_SECONDS);
    if claims.exp.saturating_add(LEEWAY_SECONDS) <= now || early(claims.iat) || claims.nbf.is_some_and(early) {
        return Err(TokenRefusal::Time);
    }
    if claims.sub.is_empty() || claims.sub.len() > MAX_SUBJECT_BYTES {
        return Err(TokenRefusal::Malformed);
    }
    Ok(claims)
}

/// Signatures with a public key and nothing else: a client secret signs nothing here, and `none` is no algorithm.
fn is_taken(algorithm: Algorithm) -> bool {
    !matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

fn key<'a>(keys: &'a JwkSet, kid: Option<&str>, algorithm: Algorithm) -> Option<&'a Jwk> {
    let fits = |key: &&Jwk| fits(key, algorithm);
    if let Some(kid) = kid {
        return keys.keys.iter().filter(|key| key.common.key_id.as_deref() == Some(kid)).find(fits);
    }
    // Without a name there must be no choice.
    let mut fitting = keys.keys.iter().filter(fits);
    fitting.next().filter(|_| fitting.next().is_none())
}

/// Whether this key is for this algorithm.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    if matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return false;
    }
    let named = key.common.key_algorithm.map(|named| named.to_string());
    if named.is_some_and(|named| named != format!("{algorithm:?}")) {
        return false;
    }
    match (&key.algorithm, algorithm) {
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => key.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => key.curve == EllipticCurve::P384,
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => key.curve == EllipticCurve::Ed25519,
        (
            AlgorithmParameters::RSA(_),
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512,
        ) => true,
        _ => false,
    }
}
