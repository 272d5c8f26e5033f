//! The end of sessions: in the store, in this process, and on all other gateways.

use sea_orm::{ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _};
use sealpost_schema::entities::session;
use sealpost_schema::{ControlNotice, SessionId, Timestamp, UserId};

use super::revocations;
use crate::audit::{self, AuditEntry, AuditEvent, EndReason};
use crate::caller::Caller;
use crate::live::announce as notify;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;
use crate::transaction;

/// Which sessions of a user.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    One(SessionId),
    These(&'a [SessionId]),
    /// All, but this one if it is named.
    AllBut(Option<SessionId>),
}

/// Who ends them, why, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// None: nobody who is signed in.
    pub by: Option<UserId>,
    pub reason: EndReason,
    pub caller: &'a Caller,
}

/// Ends sessions of `user` and records it. Takes effect with `db`'s transaction; call [`announce`] with the result after the commit.
pub async fn mark(
    db: &impl ConnectionTrait,
    user: UserId,
    which: Which<'_>,
    now: Timestamp,
    ending: Ending<'_>,
) -> Result<Vec<SessionId>, DbErr> {
    let own = session::Entity::update_many()
        .set(session::ActiveModel { ended_at: Set(Some(now.millis())), ..Default::default() })
        .filter(session::Column::UserId.eq(user.0))
        .filter(session::Column::EndedAt.is_null());
    let wanted = match which {
        Which::One(id) => own.filter(session::Column::Id.eq(id.0)),
        Which::These(ids) => own.filter(session::Column::Id.is_in(ids.iter().map(|id| id.0))),
        Which::AllBut(Some(id)) => own.filter(session::Column::Id.ne(id.0)),
        Which::AllBut(None) => own,
    };
    let ended: Vec<_> = wanted.exec_with_returning(db).await?.into_iter().map(|row| SessionId(row.id)).collect();
    if !ended.is_empty() {
        let event = AuditEvent::SessionsEnded { count: ended.len() as u64, reason: ending.reason };
        let mut entry = AuditEntry::to(Some(user), event);
        entry.actor = ending.by;
        if let Which::One(id) | Which::These(&[id]) = which {
            entry = entry.session(id);
        }
        audit::record(db, now, ending.caller, entry).await?;
    }
    Ok(ended)
}

/// Closes the connections of ended sessions and refuses their tokens: here at once, elsewhere through a notice. If that is lost,
/// the other gateways find out from the store within a second ([`revocations`]).
pub async fn announce(app: &App, sessions: &[SessionId]) {
    if sessions.is_empty() {
        return;
    }
    revocations::end_here(app, sessions);
    notify(app, &ControlNotice::SessionsEnded { session_ids: sessions.to_vec() }).await;
}

/// Ends sessions of `user` everywhere. Returns how many were ended.
pub async fn end(app: &App, user: UserId, which: Which<'_>, ending: Ending<'_>) -> ApiResult<usize> {
    let transaction = transaction::begin(app).await?;
    let ended = mark(&transaction, user, which, app.clock.now(), ending).await;
    let ended = ended.map_err(|error| ApiError::store(&error))?;
    transaction::commit(transaction).await?;
    announce(app, &ended).await;
    Ok(ended.len())
}
