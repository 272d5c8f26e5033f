//! `GET /ws/public/{channel}`: a public channel, live, without an account.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse as _, Response};
use sea_orm::{ColumnTrait as _, QueryFilter as _};
use sealpost_schema::entities::conversation;
use sealpost_schema::{CloseCode, ConversationId, Problem, ProblemKind, PublicClientFrame, PublicServerFrame};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::feed::Feed;
use crate::auth::username;
use crate::caller::Caller;
use crate::conversations::open_title;
use crate::edge::Place;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// No frame of a reader is longer.
const MAX_FRAME_BYTES: usize = 4096;
/// A write that takes longer has nobody at the other end.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Bad frames before the connection is closed.
const MAX_BAD_FRAMES: u32 = 20;

pub async fn handler(
    State(app): State<App>,
    caller: Caller,
    Path(channel): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match accept(&app, &caller, &channel, upgrade).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn accept(
    app: &App,
    caller: &Caller,
    channel: &str,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let address = caller.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let place = app.public.places.take(address, true).map_err(|_| {
        ApiError::new(
            ProblemKind::TooManyRequests,
            "Too many read public channels from this address, or in all. Close some connections, or come again later.",
        )
    })?;
    let row = find(app, channel).await?.ok_or_else(|| ApiError::not_found("open channel"))?;
    let upgrade = upgrade
        .map_err(|rejection| ApiError::new(ProblemKind::Malformed, format!("{rejection} Open a WebSocket here.")))?;
    let app = app.clone();
    Ok(upgrade
        .read_buffer_size(4096)
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .on_upgrade(move |socket| Box::pin(run(app, socket, row, place))))
}

/// By id or by public name.
async fn find(app: &App, channel: &str) -> ApiResult<Option<conversation::Model>> {
    let open = conversation::Entity::public().filter(conversation::Column::OpenReading.eq(true));
    let one = match (channel.parse::<ConversationId>(), username::normalize(channel)) {
        (Ok(id), _) => open.filter(conversation::Column::Id.eq(id.0)),
        (_, Some(name)) => open.filter(conversation::Column::PublicName.eq(name)),
        _ => return Ok(None),
    };
    one.one(&app.db).await.map_err(|error| ApiError::store(&error))
}

async fn run(app: App, mut socket: WebSocket, row: conversation::Model, _place: Place) {
    let code = match begin(&app, &mut socket, &row).await {
        Ok(feed) => Reader { app, socket: &mut socket, bad_frames: 0, heard: Instant::now() }.run(&feed, row).await,
        Err(code) => Some(code),
    };
    let Some(code) = code else { return };
    let frame = CloseFrame { code: code.code(), reason: Utf8Bytes::from_static(code.reason()) };
    // The reader may have gone.
    let _ = tokio::time::timeout(Duration::from_secs(1), socket.send(Message::Close(Some(frame)))).await;
}

/// Waits for `subscribe`.
async fn begin(app: &App, socket: &mut WebSocket, row: &conversation::Model) -> Result<Arc<Feed>, CloseCode> {
    let wait = Duration::from_secs(app.config.authenticate_seconds);
    let first = tokio::time::timeout(wait, socket.recv()).await;
    let Ok(Some(Ok(Message::Text(text)))) = first else { return Err(CloseCode::ProtocolError) };
    if !matches!(serde_json::from_str(&text), Ok(PublicClientFrame::Subscribe {})) {
        return Err(CloseCode::ProtocolError);
    }
    app.public.open(app, ConversationId(row.id)).await
}

struct Reader<'a> {
    app: App,
    socket: &'a mut WebSocket,
    bad_frames: u32,
    heard: Instant,
}

impl Reader<'_> {
    /// Until the reader goes (`None`) or must go.
    async fn run(mut self, feed: &Feed, row: conversation::Model) -> Option<CloseCode> {
        let (Some(mut frames), mut announced) = (feed.read(), self.app.announcements.listen()) else {
            return Some(feed.end());
        };
        if let Err(code) = self.greet(row).await {
            return code;
        }
        let beat = Duration::from_secs(self.app.config.heartbeat_seconds);
        let mut next_beat = std::pin::pin!(tokio::time::sleep_until(Instant::now() + beat));
        loop {
            let sent = tokio::select! {
                frame = frames.recv() => match frame {
                    Ok(frame) => self.write(Message::Text(frame)).await,
                    Err(RecvError::Lagged(_)) => return Some(CloseCode::SlowConsumer),
                    Err(RecvError::Closed) => return Some(feed.end()),
                },
                frame = announced.recv() => match frame {
                    Ok(frame) => self.write(Message::Text(frame)).await,
                    // There is another way to read them.
                    Err(RecvError::Lagged(_)) => Ok(()),
                    Err(RecvError::Closed) => return Some(CloseCode::GoingAway),
                },
                message = self.socket.recv() => match message {
                    None | Some(Ok(Message::Close(_))) => return None,
                    Some(Err(_)) => return Some(CloseCode::ProtocolError),
                    Some(Ok(message)) => self.on_message(message).await,
                },
                () = &mut next_beat => {
                    next_beat.as_mut().reset(Instant::now() + beat);
                    if self.heard.elapsed() > beat * 5 / 2 {
                        return Some(CloseCode::HeartbeatTimeout);
                    }
                    self.write(Message::Ping(bytes::Bytes::new())).await
                }
            };
            if let Err(code) = sent {
                return code;
            }
        }
    }

    /// After the feed was subscribed to: what comes in between comes after this.
    async fn greet(&mut self, row: conversation::Model) -> Result<(), Option<CloseCode>> {
        let (channel_id, title) = (ConversationId(row.id), open_title(&self.app, &row).await);
        let head_seq = self.app.hub.head(channel_id).unwrap_or_default();
        let name = row.public_name.unwrap_or_default();
        self.answer(&PublicServerFrame::Subscribed { channel_id, name, title, head_seq }).await
    }

    async fn write(&mut self, message: Message) -> Result<(), Option<CloseCode>> {
        match tokio::time::timeout(WRITE_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(None),
            Err(_) => Err(Some(CloseCode::SlowConsumer)),
        }
    }

    async fn answer(&mut self, frame: &PublicServerFrame) -> Result<(), Option<CloseCode>> {
        let text = serde_json::to_string(frame).unwrap_or_default();
        self.write(Message::Text(Utf8Bytes::from(text))).await
    }

    async fn on_message(&mut self, message: Message) -> Result<(), Option<CloseCode>> {
        self.heard = Instant::now();
        let Message::Text(text) = message else { return Ok(()) };
        if let Ok(PublicClientFrame::Ping { id }) = serde_json::from_str(&text) {
            return self.answer(&PublicServerFrame::Pong { id }).await;
        }
        self.bad_frames += 1;
        if self.bad_frames > MAX_BAD_FRAMES {
            return Err(Some(CloseCode::ProtocolError));
        }
        let detail = "Readers without an account send `subscribe` once, and `ping`. Sign in and use /ws for more.";
        self.answer(&PublicServerFrame::Error { problem: Problem::new(ProblemKind::UnknownFrame, detail) }).await
    }
}
