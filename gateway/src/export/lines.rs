//! Writing lines into the body of an answer, no faster than they are read.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use sea_orm::{ColumnTrait as _, DbErr, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select};
use sealpost_schema::entities::event;
use sealpost_schema::{ConversationId, ProblemKind, Seq};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::AT_ONCE;
use crate::live::render;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// Rows in memory at a time.
const PAGE: u64 = 500;
/// Seqs looked through at a time.
const WINDOW: u64 = 8 * PAGE;
const CHUNK_BYTES: usize = 32 * 1024;
/// Chunks that wait for a slow reader.
const CHUNKS: usize = 2;
/// Events between two lines that say how far it is.
const PROGRESS: u64 = 5_000;

/// Why an export ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    #[error("the reader went away")]
    Gone,
    #[error("{0}")]
    Failed(String),
}

impl From<DbErr> for Stop {
    fn from(error: DbErr) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ApiError> for Stop {
    fn from(ApiError(problem): ApiError) -> Self {
        Self::Failed(problem.detail)
    }
}

pub struct Lines {
    buffer: String,
    count: u64,
    chunks: mpsc::Sender<io::Result<Bytes>>,
}

impl Lines {
    pub async fn write(&mut self, line: &impl Serialize) -> Result<(), Stop> {
        let line = serde_json::to_string(line).map_err(|error| Stop::Failed(error.to_string()))?;
        self.buffer.push_str(&line);
        self.buffer.push('\n');
        self.count += 1;
        if self.buffer.len() < CHUNK_BYTES {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.chunks.send(Ok(chunk)).await.map_err(|_| Stop::Gone)
    }

    /// The events of a conversation that `select` finds, from the first to `head`.
    pub async fn write_events(
        &mut self,
        app: &App,
        conversation_id: ConversationId,
        head: Seq,
        select: Select<event::Entity>,
    ) -> Result<(), Stop> {
        let (mut from, mut written) = (Seq(0), 0);
        while from < head {
            // Within bounds, so that Postgres, whatever its statistics say, does not read all that follows for each page.
            let to = head.min(Seq(from.0 + WINDOW));
            let rows = select
                .clone()
                .filter(event::Column::Seq.gt(from.to_db()))
                .filter(event::Column::Seq.lte(to.to_db()))
                .order_by_asc(event::Column::Seq)
                .limit(PAGE)
                .all(&app.db)
                .await?;
            let is_full = rows.len() as u64 == PAGE;
            from = rows.last().filter(|_| is_full).map_or(to, |last| Seq::from_db(last.seq));
            let events: Result<Vec<_>, _> = rows.iter().map(|row| row.to_event().map(Arc::new)).collect();
            let events = events.map_err(|error| Stop::Failed(error.to_string()))?;
            app.hub.prepare(&events).await;
            for event in &events {
                let frame = render(event, &app.keys).ok_or_else(|| Stop::Failed("a key is not there".to_owned()))?;
                self.write(&frame).await?;
                written += 1;
                if written % PROGRESS == 0 {
                    let so_far =
                        json!({ "type": "progress", "conversation_id": conversation_id, "seq": event.seq, "of": head });
                    self.write(&so_far).await?;
                }
            }
        }
        Ok(())
    }
}

/// An answer whose lines `write` makes. 429 if as many exports are under way as may be.
pub fn answer<W, F>(app: &App, name: &str, write: W) -> ApiResult<Response>
where
    W: FnOnce(App, Lines) -> F,
    F: Future<Output = Result<Lines, Stop>> + Send + 'static,
{
    let turn = Arc::clone(&app.exports).try_acquire_owned().map_err(|_| {
        ApiError::new(
            ProblemKind::TooManyRequests,
            format!("{AT_ONCE} exports are under way, as many as this server makes at once. Try again in a minute."),
        )
    })?;
    let (sender, mut chunks) = mpsc::channel(CHUNKS);
    let failed = sender.clone();
    let written = write(app.clone(), Lines { buffer: String::new(), count: 0, chunks: sender });
    app.tasks.spawn(async move {
        let _turn = turn;
        let done = async {
            let mut lines = written.await?;
            let last = json!({ "type": "end", "lines": lines.count + 1 });
            lines.write(&last).await?;
            lines.flush().await
        };
        if let Err(Stop::Failed(error)) = done.await {
            tracing::error!(error, "an export ended before its end");
            // Cuts the connection: a reader must not take this for the end.
            let _ = failed.send(Err(io::Error::other(error))).await;
        }
    });
    let body = Body::from_stream(stream::poll_fn(move |context| chunks.poll_recv(context)));
    let mut response = ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response();
    let disposition = format!("attachment; filename=\"{name}.jsonl\"");
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}
