//! Sign-ins that are on their way through a provider.
//!
//! The browser that began one keeps a **key** in a cookie, the provider sends back the **state**; only both together find the row, and nonce
//! and PKCE verifier are made from both. So an answer is good in the browser that asked, once, for ten minutes, at any gateway; and the store
//! holds nothing that is worth stealing.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use sealpost_schema::entities::oidc_sign_in;
use sealpost_schema::{Clock, Timestamp};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::provider::refused;
use crate::auth::{Device, Principal};
use crate::problem::{ApiError, ApiResult};

pub const LIFETIME: Duration = Duration::from_mins(10);
/// Beyond it the oldest ones go: many addresses have to ask at their full rate for that.
const MOST: u64 = 10_000;
const BYTES: usize = 32;

/// What only this browser and this sign-in have.
pub struct Secrets {
    pub key: Zeroizing<String>,
    pub state: String,
}

impl Secrets {
    pub fn new() -> ApiResult<Self> {
        Ok(Self { key: Zeroizing::new(random()?), state: random()? })
    }

    pub fn of(key: &str, state: &str) -> Self {
        Self { key: Zeroizing::new(key.to_owned()), state: state.to_owned() }
    }

    fn hash(&self, purpose: &str) -> Vec<u8> {
        let parts = [purpose, self.key.as_str(), self.state.as_str()];
        let hash = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part).chain_update([0]));
        hash.finalize().to_vec()
    }

    pub fn nonce(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.hash("nonce"))
    }

    pub fn verifier(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.hash("verifier")))
    }

    /// RFC 7636, S256.
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier().as_bytes()))
    }
}

fn random() -> ApiResult<String> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| ApiError::internal(&error))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// Keeps what was begun. `link`: who links an account of the provider with theirs.
pub async fn put(
    db: &impl ConnectionTrait,
    secrets: &Secrets,
    provider: &str,
    link: Option<Principal>,
    device: Device,
    clock: &Clock,
) -> ApiResult<()> {
    let now = clock.now();
    let row = oidc_sign_in::Model {
        hash: secrets.hash("row"),
        provider: provider.to_owned(),
        user_id: link.map(|principal| principal.user_id.0),
        session_id: link.map(|principal| principal.session_id.0),
        device_name: device.name,
        device_kind: device.kind.as_str().to_owned(),
        expires_at: now.plus(LIFETIME).millis(),
    };
    let work = async {
        make_room(db, now).await?;
        oidc_sign_in::Entity::insert(row.into_active_model()).exec_without_returning(db).await
    };
    work.await.map(|_| ()).map_err(|error| ApiError::store(&error))
}

async fn make_room(db: &impl ConnectionTrait, now: Timestamp) -> Result<(), DbErr> {
    let expires_at = oidc_sign_in::Column::ExpiresAt;
    oidc_sign_in::Entity::delete_many().filter(expires_at.lte(now.millis())).exec(db).await?;
    let newest_first = oidc_sign_in::Entity::on_their_way().order_by_desc(expires_at);
    if let Some(oldest) = newest_first.offset(MOST - 1).limit(1).one(db).await? {
        oidc_sign_in::Entity::delete_many().filter(expires_at.lte(oldest.expires_at)).exec(db).await?;
    }
    Ok(())
}

/// Uses up what was begun with this provider, whatever comes of it. Of any number of calls at once one gets it.
pub async fn take(
    db: &impl ConnectionTrait,
    secrets: &Secrets,
    provider: &str,
    now: Timestamp,
) -> ApiResult<oidc_sign_in::Model> {
    let over =
        || refused("This sign-in was not begun in this browser, was used already, or took too long. Begin again.");
    let row = oidc_sign_in::Entity::good(secrets.hash("row"), provider, now.millis()).one(db).await;
    let row = row.map_err(|error| ApiError::store(&error))?.ok_or_else(over)?;
    let deleted = oidc_sign_in::Entity::delete_by_id(row.hash.clone()).exec(db).await;
    let deleted = deleted.map_err(|error| ApiError::store(&error))?;
    if deleted.rows_affected == 1 { Ok(row) } else { Err(over()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_depends_on_both_secrets() {
        let made = Secrets::of("key", "state");
        for other in [Secrets::of("key", "other"), Secrets::of("other", "state"), Secrets::of("ke", "ystate")] {
            assert_ne!(made.nonce(), other.nonce());
            assert_ne!(*made.verifier(), *other.verifier());
            assert_ne!(made.hash("row"), other.hash("row"));
        }
        assert_eq!(made.verifier().len(), 43, "as long as RFC 7636 asks for");
        assert_ne!(made.nonce(), *made.verifier());
    }
}
