//! Refresh tokens: `<session id without hyphens>.<base64url of 64 bytes>`.
//!
//! The 64 bytes are 32 that nobody can guess (random in a session's first token, HMAC of its predecessor in later ones) and a
//! 32-byte proof that this server made them (HMAC). The database gets SHA-256 of all 64. The module `auth` says what
//! this is good for.
//!
//! After a change of signing keys, tokens of a removed key still work by their hash in the database; only the grace
//! and the recognition of old tokens need the key that made them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use sealpost_schema::SessionId;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::signing_key::SigningKey;
use super::tokens::IssueError;

const SEED_BYTES: usize = 32;
const SECRET_BYTES: usize = 64;

/// A token of the right shape; whose, the database knows.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    pub session_id: SessionId,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl RefreshToken {
    pub fn parse(text: &str) -> Option<Self> {
        let (session, secret) = text.split_once('.')?;
        // One spelling only: 32 lower-case digits.
        let session_id = Uuid::try_parse(session).ok().filter(|id| id.simple().to_string() == session)?;
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        let length = URL_SAFE_NO_PAD.decode_slice(secret, bytes.as_mut_slice()).ok()?;
        (length == SECRET_BYTES).then_some(Self { session_id: SessionId(session_id), secret: bytes })
    }

    /// As the client gets it.
    pub fn to_text(&self) -> String {
        format!("{}.{}", self.session_id.0.simple(), URL_SAFE_NO_PAD.encode(self.secret.as_slice()))
    }

    /// As the database keeps it.
    pub fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.secret.as_slice()).to_vec()
    }

    fn seed(&self) -> &[u8] {
        &self.secret[..SEED_BYTES]
    }

    fn proof(&self) -> &[u8] {
        &self.secret[SEED_BYTES..]
    }

    /// What is signed, apart for each purpose.
    fn message(purpose: &[u8], session: SessionId, seed: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([purpose, session.0.as_bytes(), seed].concat())
    }

    fn prove(key: &hmac::Key, session_id: SessionId, seed: &[u8]) -> Self {
        let proof = hmac::sign(key, &Self::message(b"proof", session_id, seed));
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        secret[..SEED_BYTES].copy_from_slice(seed);
        secret[SEED_BYTES..].copy_from_slice(proof.as_ref());
        Self { session_id, secret }
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}

/// Newest first, as the signing keys they come from.
pub struct RefreshKeys(Vec<hmac::Key>);

impl RefreshKeys {
    pub fn new(keys: &[SigningKey]) -> Self {
        Self(keys.iter().map(|key| key.refresh.clone()).collect())
    }

    /// The first token of a session.
    pub fn first(&self, session: SessionId) -> Result<RefreshToken, IssueError> {
        let key = self.0.first().ok_or(IssueError::NoKey)?;
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        getrandom::fill(seed.as_mut_slice()).map_err(IssueError::Random)?;
        Ok(RefreshToken::prove(key, session, seed.as_slice()))
    }

    /// The token that follows, by each key: the first is the one to give out, the others may have been given out by a gateway
    /// that has other keys.
    pub fn successors(&self, token: &RefreshToken) -> impl Iterator<Item = RefreshToken> {
        self.0.iter().map(|key| {
            let seed = hmac::sign(key, &RefreshToken::message(b"next", token.session_id, token.seed()));
            RefreshToken::prove(key, token.session_id, seed.as_ref())
        })
    }

    /// Whether this server made it, at any time.
    pub fn made(&self, token: &RefreshToken) -> bool {
        let message = RefreshToken::message(b"proof", token.session_id, token.seed());
        self.0.iter().any(|key| hmac::verify(key, &message, token.proof()).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: usize) -> Vec<SigningKey> {
        (0..count).map(|_| SigningKey::parse(&SigningKey::generate()).unwrap()).collect()
    }

    #[test]
    fn tokens_are_read_back_and_successors_are_always_the_same() {
        let keys = RefreshKeys::new(&keys(2));
        let first = keys.first(SessionId::new()).unwrap();
        let read = RefreshToken::parse(&first.to_text()).unwrap();
        assert_eq!(read, first);
        let next: Vec<_> = keys.successors(&first).collect();
        assert_eq!(next, keys.successors(&read).collect::<Vec<_>>());
        assert_eq!(next.len(), 2);
        assert_ne!(next[0], next[1]);
        assert_ne!(next[0].hash(), first.hash());
        assert_ne!(first, keys.first(first.session_id).unwrap());
    }

    #[test]
    fn own_tokens_are_told_from_made_up_ones() {
        let signing = keys(2);
        let (all, newest, other) =
            (RefreshKeys::new(&signing), RefreshKeys::new(&signing[..1]), RefreshKeys::new(&keys(1)));
        let first = newest.first(SessionId::new()).unwrap();
        let second = newest.successors(&first).next().unwrap();
        assert!(all.made(&first) && all.made(&second));
        assert!(!other.made(&first));
        let moved = RefreshToken { session_id: SessionId::new(), ..first.clone() };
        assert!(!all.made(&moved), "a token belongs to its session");
        for index in 0..SECRET_BYTES {
            let mut changed = first.clone();
            changed.secret[index] ^= 1;
            assert!(!all.made(&changed), "byte {index}");
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        let good = RefreshKeys::new(&keys(1)).first(SessionId::new()).unwrap().to_text();
        assert_eq!(good.len(), 32 + 1 + 86);
        let (session, secret) = good.split_once('.').unwrap();
        for bad in [
            String::new(),
            ".".to_owned(),
            session.to_owned(),
            format!("{session}."),
            format!("{session}.{}", &secret[1..]),
            format!("{session}.{secret}A"),
            format!("{session}.{secret}=="),
            format!("{session}.{secret}.{secret}"),
            format!("{}.{secret}", &session[1..]),
            format!("{{{session}}}.{secret}"),
            format!("{}.{secret}", session.parse::<Uuid>().unwrap()),
            format!("' OR 1=1 --.{secret}"),
            format!("{session}.{}", "A".repeat(100_000)),
        ] {
            assert!(RefreshToken::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = RefreshKeys::new(&keys(1)).first(SessionId::new()).unwrap();
        assert_eq!(format!("{token:?}"), format!("RefreshToken {{ session_id: {:?}, .. }}", token.session_id));
    }
}
