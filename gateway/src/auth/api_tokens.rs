//! Tokens of service accounts: `spt_<id>_<secret>`. The store has their hashes; a gateway remembers those in use, so that a request
//! costs no query. What changes is dropped from memory within a second, as with ended sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::{ColumnTrait as _, DatabaseConnection, DbErr, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use sealpost_schema::entities::api_token;
use sealpost_schema::{SessionId, Timestamp, UserId};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::scopes::{Grant, Scope};

const PREFIX: &str = "spt_";
const SECRET_BYTES: usize = 32;
/// Tokens remembered. More than that many programs at one gateway would only be slower.
const MAX_REMEMBERED: usize = 20_000;

/// A token as it was sent: of the right shape.
pub struct SentToken {
    pub id: SessionId,
    hash: Vec<u8>,
}

impl SentToken {
    /// None: not meant as one of these.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let id = Uuid::try_parse(id).ok().filter(|known| known.simple().to_string() == id)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret).ok()?);
        (bytes.len() == SECRET_BYTES).then(|| Self { id: SessionId(id), hash: Sha256::digest(&*bytes).to_vec() })
    }

    /// Hashes of what nobody can guess: comparing them tells nothing.
    pub fn is(&self, grant: &Grant) -> bool {
        self.hash == grant.secret_hash
    }
}

/// A new token with this id, for its owner alone, and its hash, for the store.
pub fn new_token(id: Uuid) -> Result<(SecretString, Vec<u8>), getrandom::Error> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(bytes.as_mut_slice())?;
    let hash = Sha256::digest(bytes.as_slice()).to_vec();
    Ok((SecretString::from(format!("{PREFIX}{}_{}", id.simple(), URL_SAFE_NO_PAD.encode(bytes.as_slice()))), hash))
}

/// Tokens in use at this gateway.
#[derive(Default)]
pub struct ApiTokens(Mutex<HashMap<SessionId, Arc<Grant>>>);

impl ApiTokens {
    /// From memory, or else with one query. None: there is no such token that is good.
    pub async fn find(
        &self,
        db: &DatabaseConnection,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<Arc<Grant>>, DbErr> {
        if let Some(grant) = self.remembered(id) {
            return Ok(Some(grant).filter(|grant| grant.expires_at > now));
        }
        let Some(row) = api_token::Entity::usable(id.0, now.millis()).one(db).await? else { return Ok(None) };
        let grant = Arc::new(grant_of(row));
        let mut remembered = self.lock();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(id, Arc::clone(&grant));
        Ok(Some(grant))
    }

    pub fn remembered(&self, id: SessionId) -> Option<Arc<Grant>> {
        self.lock().get(&id).cloned()
    }

    /// Forgets what is remembered of these from before these moments.
    pub fn forget(&self, changed: &HashMap<SessionId, Timestamp>) {
        if !changed.is_empty() {
            self.lock().retain(|id, grant| changed.get(id).is_none_or(|at| grant.changed_at >= *at));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Arc<Grant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn grant_of(row: api_token::Model) -> Grant {
    let chosen = row.conversations.as_deref().map(|text| serde_json::from_str(text).unwrap_or_default());
    Grant {
        token_id: SessionId(row.id),
        user_id: UserId(row.user_id),
        secret_hash: row.secret_hash,
        scopes: row.scopes.split(',').filter_map(Scope::parse).collect(),
        conversations: chosen,
        expires_at: Timestamp::from_millis(row.expires_at),
        changed_at: Timestamp::from_millis(row.changed_at),
    }
}

/// Tokens that changed since then, and when.
pub async fn changed_since(db: &DatabaseConnection, since: Timestamp) -> Result<HashMap<SessionId, Timestamp>, DbErr> {
    let rows: Vec<(Uuid, i64)> = api_token::Entity::find()
        .select_only()
        .column(api_token::Column::Id)
        .column(api_token::Column::ChangedAt)
        .filter(api_token::Column::ChangedAt.gte(since.millis()))
        .into_tuple()
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|(id, at)| (SessionId(id), Timestamp::from_millis(at))).collect())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn tokens_are_read_back_and_other_shapes_are_not_tokens() {
        let id = Uuid::now_v7();
        let (token, hash) = new_token(id).unwrap();
        let text = token.expose_secret();
        let read = SentToken::parse(text).unwrap();
        assert_eq!((read.id.0, &read.hash), (id, &hash));
        let (start, secret) = text.rsplit_once('_').unwrap();
        assert!(secret.len() > 40 || start.len() > 30, "{start}");
        for bad in ["", "spt_", "spt__", &text[1..], &text[..text.len() - 1], &format!("{text}A"), &text.to_uppercase()]
        {
            assert!(SentToken::parse(bad).is_none(), "{bad}");
        }
    }
}
