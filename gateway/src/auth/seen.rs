//! When sessions were last used: noted in memory at each request, written now and then for all of them together.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sea_orm::{ActiveValue::Set, ColumnTrait as _, DbErr, EntityTrait as _, QueryFilter as _};
use sealpost_schema::SessionId;
use sealpost_schema::entities::{api_token, session};
use tokio_util::sync::CancellationToken;

use crate::state::App;

/// Rows changed by one statement.
const BATCH: usize = 500;
/// Sessions noted between two writes. More than any gateway serves; those beyond it are noted at their next request after a write.
const MAX_NOTED: usize = 200_000;

/// Sessions that were used since the last write.
#[derive(Default)]
pub struct Seen(Mutex<HashSet<SessionId>>);

impl Seen {
    pub fn touch(&self, session: SessionId) {
        let mut noted = self.lock();
        if noted.len() < MAX_NOTED {
            noted.insert(session);
        }
    }

    fn take(&self) -> HashSet<SessionId> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<SessionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes every `auth.last_seen_seconds`, and once more at the end.
pub async fn write(app: App, stop: CancellationToken) {
    let pause = Duration::from_secs(app.auth.last_seen_seconds);
    loop {
        let stopped = stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none();
        let mut used = app.seen.take();
        // A connection is use, also when nothing is sent.
        used.extend(app.connections.all().iter().map(|connection| connection.session_id));
        let (used, tokens) = (Vec::from_iter(used), Vec::from_iter(app.tokens_seen.take()));
        if let Err(error) = flush(&app, &used, &tokens).await {
            tracing::debug!(%error, "when sessions were last seen could not be written");
        }
        if stopped {
            return;
        }
    }
}

async fn flush(app: &App, used: &[SessionId], tokens: &[SessionId]) -> Result<(), DbErr> {
    let now = app.clock.now().millis();
    for some in used.chunks(BATCH) {
        let change = session::ActiveModel { last_seen_at: Set(now), ..Default::default() };
        session::Entity::update_many()
            .set(change)
            .filter(session::Column::Id.is_in(some.iter().map(|id| id.0)))
            .filter(session::Column::EndedAt.is_null())
            .exec(&app.db)
            .await?;
    }
    for some in tokens.chunks(BATCH) {
        let change = api_token::ActiveModel { last_used_at: Set(Some(now)), ..Default::default() };
        api_token::Entity::update_many()
            .set(change)
            .filter(api_token::Column::Id.is_in(some.iter().map(|id| id.0)))
            .exec(&app.db)
            .await?;
    }
    Ok(())
}
