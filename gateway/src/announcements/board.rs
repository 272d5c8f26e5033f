//! The current announcements of this process.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use sea_orm::{EntityTrait as _, QueryOrder as _, QuerySelect as _};
use sealpost_schema::entities::{announcement, announcement_mark};
use sealpost_schema::{ServerFrame, Timestamp, UserId};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::live::{Connection, encode};
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// Those that are current at the same time.
pub const MAX_CURRENT: u64 = 20;
const PAUSE: Duration = Duration::from_mins(1);

/// One of them, opened.
pub struct Announcement {
    pub id: Uuid,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub text: String,
    frame: Utf8Bytes,
}

pub struct Announcements {
    /// Oldest first.
    current: RwLock<Arc<Vec<Arc<Announcement>>>>,
    /// For readers of public channels; signed-in connections get theirs through their queues.
    live: broadcast::Sender<Utf8Bytes>,
}

impl Default for Announcements {
    fn default() -> Self {
        Self { current: RwLock::default(), live: broadcast::channel(16).0 }
    }
}

impl Announcements {
    pub fn listen(&self) -> broadcast::Receiver<Utf8Bytes> {
        self.live.subscribe()
    }

    /// Those that are good at `now`, oldest first.
    pub fn current(&self, now: Timestamp) -> Vec<Arc<Announcement>> {
        let all = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        all.iter().filter(|one| one.expires_at > now).cloned().collect()
    }
}

/// Looks what there is, and pushes what is new to everybody connected here.
pub async fn refresh(app: &App) -> ApiResult<()> {
    let now = app.clock.now();
    let rows = announcement::Entity::current(now.millis())
        .order_by_desc(announcement::Column::Id)
        .limit(MAX_CURRENT)
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let all: Vec<_> = rows.into_iter().rev().filter_map(|row| open(app, &row)).map(Arc::new).collect();
    let before = {
        let mut current = app.announcements.current.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, Arc::new(all.clone()))
    };
    let new = all.iter().filter(|one| before.iter().all(|other| other.id != one.id));
    for announcement in new {
        for connection in app.connections.all() {
            connection.push(announcement.frame.clone());
        }
        // Perhaps nobody reads a public channel here.
        let _ = app.announcements.live.send(announcement.frame.clone());
    }
    Ok(())
}

fn open(app: &App, row: &announcement::Model) -> Option<Announcement> {
    let opened = app.keys.open_for_user(UserId(row.id), &row.wrapped, &row.sealed);
    let text = opened
        .map_err(|error| error.to_string())
        .and_then(|bytes| String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string()));
    let text = text
        .inspect_err(|error| tracing::error!(announcement = %row.id, error, "an announcement cannot be opened"))
        .ok()?;
    let created_at = Timestamp::from_millis(row.created_at);
    let frame = encode(&ServerFrame::Announcement { announcement_id: row.id, created_at, text: text.clone() });
    Some(Announcement { id: row.id, created_at, expires_at: Timestamp::from_millis(row.expires_at), text, frame })
}

/// The last one that a user has marked as seen.
pub async fn seen_by(app: &App, user: UserId) -> ApiResult<Uuid> {
    let mark = announcement_mark::Entity::find_by_id(user.0).one(&app.db).await;
    Ok(mark.map_err(|error| ApiError::store(&error))?.map_or(Uuid::nil(), |mark| mark.seen_id))
}

/// Sends a new connection what its user has not seen. One that comes at this moment may come twice; its id tells.
pub async fn greet(app: &App, connection: &Connection) {
    let current = app.announcements.current(app.clock.now());
    if current.is_empty() {
        return;
    }
    match seen_by(app, connection.user_id).await {
        Ok(seen) => {
            for announcement in current.iter().filter(|one| one.id > seen) {
                connection.push(announcement.frame.clone());
            }
        }
        Err(ApiError(problem)) => tracing::debug!(problem.detail, "announcements could not be shown"),
    }
}

/// Looks at the start, and then now and then: a notice may have been lost.
pub async fn watch(app: App, stop: CancellationToken) {
    loop {
        if let Err(ApiError(problem)) = refresh(&app).await {
            tracing::debug!(problem.detail, "announcements could not be looked for");
        }
        if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}
