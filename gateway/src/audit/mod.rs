//! The audit log: who did what, when, and from where.
//!
//! Rows are added in the transaction of what they tell of, so there is no change without its row. An [`AuditEvent`] holds ids, numbers
//! and words of this program only: no secret can get into a row, and no text that somebody typed into the wrong field either.
//! Rows are never changed (the database refuses it) and leave when they are older than `auth.audit_days`.

mod event;

pub use event::{AuditEvent, EndReason, PasswordChange, SignInMethod};

use sea_orm::{ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait as _};
use sealpost_schema::entities::audit;
use sealpost_schema::{SessionId, Timestamp, UserId};

use crate::caller::Caller;

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// Who did it; none if nobody was signed in.
    pub actor: Option<UserId>,
    /// Whose account it is about.
    pub user: Option<UserId>,
    pub session: Option<SessionId>,
    pub event: AuditEvent,
}

impl AuditEntry {
    /// Somebody did something to their own account.
    pub fn own(user: UserId, event: AuditEvent) -> Self {
        Self { actor: Some(user), user: Some(user), session: None, event }
    }

    /// Something happened to this account (if it is known) and it is not known who did it.
    pub fn to(user: Option<UserId>, event: AuditEvent) -> Self {
        Self { actor: None, user, session: None, event }
    }

    #[must_use]
    pub fn by(self, actor: UserId) -> Self {
        Self { actor: Some(actor), ..self }
    }

    #[must_use]
    pub fn session(self, session: SessionId) -> Self {
        Self { session: Some(session), ..self }
    }
}

/// Adds a row. Takes effect with `db`'s transaction, if that is one.
pub async fn record(
    db: &impl ConnectionTrait,
    now: Timestamp,
    caller: &Caller,
    entry: AuditEntry,
) -> Result<(), DbErr> {
    let row = audit::ActiveModel {
        id: Set(uuid::Uuid::now_v7()),
        at: Set(now.millis()),
        action: Set(entry.event.action()),
        actor_id: Set(entry.actor.map(|id| id.0)),
        user_id: Set(entry.user.map(|id| id.0)),
        session_id: Set(entry.session.map(|id| id.0)),
        address: Set(caller.address_text()),
        user_agent: Set(caller.user_agent.clone()),
        details: Set(entry.event.details().to_string()),
    };
    audit::Entity::insert(row).exec_without_returning(db).await.map(|_| ())
}
