//! Access tokens: JWTs in the manner of RFC 9068, checked without a query.
//!
//! Only what this server signs is accepted: `EdDSA`, one of our own keys by `kid`, `typ` `at+jwt`, our issuer and audience, and
//! an expiry. A token's header chooses nothing but which of our keys it is checked with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use ring::digest::{SHA256, digest};
use sealpost_schema::{Clock, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use super::config::AuthConfig;
use super::jwks::JwkResponse;
use super::refresh_token::RefreshKeys;
use super::signing_key::SigningKey;

/// RFC 9068: an access token, and nothing else that is signed with the same key.
const TYPE: &str = "at+jwt";
/// Clocks of gateways may differ by this.
const LEEWAY_SECONDS: i64 = 5;
/// Ours have about 400 bytes.
const MAX_TOKEN_BYTES: usize = 2048;
/// Tokens that were found good and are remembered: 1 MiB. A signature takes as long to check as all the rest of a small request.
const MAX_REMEMBERED: usize = 8192;

/// Why a token is not accepted; more than this nobody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the access token is not valid")]
    Invalid,
    /// It was ours; a refresh helps.
    #[error("the access token has expired")]
    Expired,
}

/// Why no token could be made: a defect or a wrong set-up.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("there is no signing key; set SIGNING_KEY")]
    NoKey,
    #[error("the operating system has no randomness: {0}")]
    Random(getrandom::Error),
    #[error("signing failed")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// What a valid token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub expires_at: Timestamp,
}

/// Of a token whose signature, issuer and audience were found good: those do not change as long as the process lives.
#[derive(Clone, Copy)]
struct Checked {
    sub: UserId,
    sid: SessionId,
    exp: i64,
    nbf: Option<i64>,
}

/// The claims as they are signed. Moments are seconds since 1970.
#[derive(Serialize, Deserialize)]
struct SignedClaims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    iat: i64,
    exp: i64,
    /// Not in tokens of ours today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
}

/// Makes and checks tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Parts>);

struct Parts {
    issuer: String,
    audience: String,
    lifetime_seconds: u64,
    validation: Validation,
    keys: Vec<SigningKey>,
    refresh: RefreshKeys,
    clock: Clock,
    /// By SHA-256 of the token.
    checked: Mutex<HashMap<[u8; 32], Checked>>,
}

impl Tokens {
    /// The first key signs; all verify.
    pub fn new(config: &AuthConfig, keys: Vec<SigningKey>, clock: Clock) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "sub", "iss", "aud"]);
        // Both are checked in `verify`, by our own clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self(Arc::new(Parts {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetime_seconds: config.access_token_seconds,
            validation,
            refresh: RefreshKeys::new(&keys),
            keys,
            clock,
            checked: Mutex::default(),
        }))
    }

    /// An access token, and in how many seconds it expires: not after its session.
    pub fn issue(
        &self,
        user: UserId,
        session: SessionId,
        session_ends: Timestamp,
    ) -> Result<(String, u64), IssueError> {
        let parts = &self.0;
        let key = parts.keys.first().ok_or(IssueError::NoKey)?;
        let header = Header { typ: Some(TYPE.to_owned()), kid: Some(key.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        let now = self.now_seconds();
        let left = u64::try_from(session_ends.millis() / 1000 - now).unwrap_or(0);
        let lifetime = parts.lifetime_seconds.min(left);
        let claims = SignedClaims {
            iss: parts.issuer.clone(),
            aud: parts.audience.clone(),
            sub: user,
            sid: session,
            iat: now,
            exp: now.saturating_add_unsigned(lifetime),
            nbf: None,
        };
        Ok((encode(&header, &claims, &key.encoding)?, lifetime))
    }

    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let claims = self.check(token)?;
        let now = self.now_seconds();
        if claims.nbf.is_some_and(|nbf| nbf > now.saturating_add(LEEWAY_SECONDS)) {
            return Err(TokenError::Invalid);
        }
        if claims.exp.saturating_add(LEEWAY_SECONDS) <= now {
            return Err(TokenError::Expired);
        }
        Ok(Claims {
            user_id: claims.sub,
            session_id: claims.sid,
            expires_at: Timestamp::from_millis(claims.exp.saturating_mul(1000)),
        })
    }

    /// All that does not depend on the time.
    fn check(&self, token: &str) -> Result<Checked, TokenError> {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(checked) = self.checked().get(&hash) {
            return Ok(*checked);
        }
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        if header.alg != Algorithm::EdDSA || header.typ.as_deref() != Some(TYPE) || header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        let kid = header.kid.ok_or(TokenError::Invalid)?;
        let key = self.0.keys.iter().find(|key| key.kid == kid).ok_or(TokenError::Invalid)?;
        let claims = decode::<SignedClaims>(token, &key.decoding, &self.0.validation);
        let SignedClaims { sub, sid, exp, nbf, .. } = claims.map_err(|_| TokenError::Invalid)?.claims;
        let checked = Checked { sub, sid, exp, nbf };
        let mut known = self.checked();
        if known.len() >= MAX_REMEMBERED {
            // They last minutes, and half of them have ended by then.
            known.clear();
        }
        known.insert(hash, checked);
        Ok(checked)
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Checked>> {
        self.0.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What others need to check our tokens, the signing one first.
    pub(super) fn public_keys(&self) -> Vec<JwkResponse> {
        let jwk = |key: &SigningKey| JwkResponse {
            kty: "OKP",
            crv: "Ed25519",
            alg: "EdDSA",
            purpose: "sig",
            kid: key.kid.clone(),
            x: key.public.clone(),
        };
        self.0.keys.iter().map(jwk).collect()
    }

    pub(super) fn refresh_keys(&self) -> &RefreshKeys {
        &self.0.refresh
    }

    fn now_seconds(&self) -> i64 {
        self.0.clock.now().millis() / 1000
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
