//! Which sessions have ended, in memory, so that checking a token costs no query.
//!
//! A session that ends is known here at once on the gateway that ends it, through a notice on the others, and through a look at the
//! store twice a second in any case: notices may be lost, and a command of the operator sends none. Only what ended within the
//! life of an access token matters, and an entry leaves when the last token of its session has expired: that bounds the memory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use sea_orm::{ColumnTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use sealpost_schema::entities::session;
use sealpost_schema::{SessionId, Timestamp};
use tokio_util::sync::CancellationToken;

use super::api_tokens::changed_since;
use crate::state::App;

/// How often the store is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A row may become visible this long after the moment that it names: clocks differ, and transactions take time.
const OVERLAP: Duration = Duration::from_mins(1);
/// Clocks of gateways may differ, so entries stay a little longer than tokens live.
const MARGIN: Duration = Duration::from_mins(1);

type Moments = Vec<(SessionId, Timestamp)>;

/// The ended sessions.
pub struct Revocations {
    ended: RwLock<Ended>,
    keep: Duration,
}

#[derive(Default)]
struct Ended {
    /// The store has been read once.
    known: bool,
    ids: HashSet<SessionId>,
    /// When each may be forgotten.
    until: BTreeSet<(Timestamp, SessionId)>,
}

impl Revocations {
    /// `token_lifetime`: of access tokens.
    pub fn new(token_lifetime: Duration) -> Self {
        Self { ended: RwLock::default(), keep: token_lifetime + MARGIN }
    }

    /// False until the store was read for the first time: until then no token can be trusted.
    pub fn are_known(&self) -> bool {
        self.read().known
    }

    pub fn has_ended(&self, session: SessionId) -> bool {
        self.read().ids.contains(&session)
    }

    /// Remembers those that ended at these moments; returns the ones that are news.
    fn add(&self, ended: impl IntoIterator<Item = (SessionId, Timestamp)>, now: Timestamp) -> HashSet<SessionId> {
        let mut known = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        while let Some(first) = known.until.first().copied().filter(|(until, _)| *until < now) {
            known.until.remove(&first);
            known.ids.remove(&first.1);
        }
        let mut news = HashSet::new();
        for (id, at) in ended {
            let until = at.plus(self.keep);
            if until >= now && known.ids.insert(id) {
                known.until.insert((until, id));
                news.insert(id);
            }
        }
        news
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Ended> {
        self.ended.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// These sessions have ended: from now on their tokens are refused here, and their connections close.
pub fn end_here(app: &App, sessions: &[SessionId]) {
    let now = app.clock.now();
    app.revocations.add(sessions.iter().map(|id| (*id, now)), now);
    // A token of a service account stands where others have a session, and may end more than once.
    app.api_tokens.forget(&sessions.iter().map(|id| (*id, Timestamp(i64::MAX))).collect());
    app.connections.close_sessions(&sessions.iter().copied().collect());
}

/// Looks at the store again and again, until `stop`.
pub async fn watch(app: App, stop: CancellationToken) {
    let mut read_at: Option<Timestamp> = None;
    loop {
        let now = app.clock.now();
        let whole = now.minus(app.revocations.keep);
        let since = read_at.map_or(whole, |at| whole.max(at.minus(OVERLAP)));
        match read(&app, since).await {
            Ok((ended, changed)) => {
                if read_at.is_none() {
                    app.revocations.ended.write().unwrap_or_else(PoisonError::into_inner).known = true;
                }
                read_at = Some(now);
                let news = app.revocations.add(ended, now);
                app.connections.close_sessions(&news);
                app.api_tokens.forget(&changed);
                app.connections.close_tokens(&changed);
            }
            // Others say that the store is away, once.
            Err(error) => tracing::debug!(%error, "ended sessions could not be read"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// What ended, and which API tokens changed.
async fn read(app: &App, since: Timestamp) -> Result<(Moments, HashMap<SessionId, Timestamp>), DbErr> {
    Ok((ended_since(app, since).await?, changed_since(&app.db, since).await?))
}

async fn ended_since(app: &App, since: Timestamp) -> Result<Moments, DbErr> {
    let rows: Vec<(uuid::Uuid, i64)> = session::Entity::find()
        .select_only()
        .column(session::Column::Id)
        .column(session::Column::EndedAt)
        .filter(session::Column::EndedAt.gte(since.millis()))
        .into_tuple()
        .all(&app.db)
        .await?;
    Ok(rows.into_iter().map(|(id, at)| (SessionId(id), Timestamp::from_millis(at))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_refused_until_its_last_token_has_expired() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let (one, other, start) = (SessionId::new(), SessionId::new(), Timestamp::from_millis(1_000_000_000));
        assert_eq!(revocations.add([(one, start)], start).len(), 1);
        assert!(revocations.has_ended(one) && !revocations.has_ended(other));
        assert!(revocations.add([(one, start)], start).is_empty(), "news only once");
        let later = start.plus(Duration::from_mins(15));
        revocations.add([(other, later)], later);
        assert!(revocations.has_ended(one), "a token made by a clock that is behind");
        revocations.add([], start.plus(Duration::from_mins(17)));
        assert!(!revocations.has_ended(one) && revocations.has_ended(other));
        assert_eq!(revocations.read().until.len(), 1);
    }

    #[test]
    fn what_ended_long_ago_takes_no_memory() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let now = Timestamp::from_millis(10_000_000_000);
        let old = (0..1000).map(|_| (SessionId::new(), now.minus(Duration::from_hours(1))));
        assert!(revocations.add(old, now).is_empty());
        assert!(revocations.read().ids.is_empty());
    }
}
