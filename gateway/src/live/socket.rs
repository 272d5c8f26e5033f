//! The WebSocket itself: handshake, authentication, and the task that reads and writes one connection.
//!
//! One task does both: a second one would cost every idle connection another 2 KiB, and writing is bounded by a time-out anyway.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::SinkExt as _;
use sealpost_schema::{ClientFrame, CloseCode, Cursor, LastEvents, Problem, ProblemKind, ServerFrame, Timestamp};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::inbound::{self, Next};
use super::{Connection, resume};
use crate::auth::{Authenticated, Scope, authenticate, token_of_handshake};
use crate::problem::{ApiError, ApiResult, Query};
use crate::state::App;

/// The subprotocol that this server speaks.
const PROTOCOL: &str = "sealpost.v1";
/// Frames taken from the queue and written with one system call.
const WRITE_BATCH: usize = 64;
/// A write that takes longer has nobody at the other end.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection that sent too much is read again after this at the latest.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// Bad frames in one connection before it is closed.
const MAX_BAD_FRAMES: u32 = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSocketQuery {
    /// Live events wait for a `resume` frame.
    #[serde(default)]
    resume: bool,
}

/// `GET /ws`
pub async fn handler(
    State(app): State<App>,
    headers: HeaderMap,
    Query(query): Query<WebSocketQuery>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    match accept(&app, &headers, query.resume, upgrade).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn accept(
    app: &App,
    headers: &HeaderMap,
    wait_for_resume: bool,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    check_origin(app, headers)?;
    let shown = match token_of_handshake(headers) {
        Some(token) => Some(enter(app, token).await?),
        None => None,
    };
    let upgrade = upgrade
        .map_err(|rejection| ApiError::new(ProblemKind::Malformed, format!("{rejection} Open a WebSocket here.")))?;
    if app.stop.is_cancelled() {
        return Err(ApiError::new(ProblemKind::Unavailable, "The server is stopping. Connect again in a moment."));
    }
    let app = app.clone();
    // A little above the limit, so that a frame over it gets a problem and not just an end.
    let hard_limit = app.config.max_frame_bytes * 2;
    Ok(upgrade
        .protocols([PROTOCOL])
        .read_buffer_size(4096)
        .write_buffer_size(16 * 1024)
        .max_write_buffer_size(app.config.send_queue_bytes.max(hard_limit) * 2)
        .max_message_size(hard_limit)
        .max_frame_size(hard_limit)
        .on_upgrade(move |socket| Box::pin(run(app, socket, shown, wait_for_resume))))
}

/// Browsers name the page that opens the socket; programs name none.
fn check_origin(app: &App, headers: &HeaderMap) -> ApiResult<()> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let own = origin.split_once("://").is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && rest == host);
    if (own && !host.is_empty()) || app.config.allowed_origins.iter().any(|allowed| allowed == origin) {
        return Ok(());
    }
    Err(ApiError::new(
        ProblemKind::ForeignOrigin,
        "This page's origin may not connect. Add it to gateway.allowed_origins.",
    ))
}

/// A connection sees events, so an API token needs the right to read.
async fn enter(app: &App, token: &str) -> ApiResult<Authenticated> {
    let shown = authenticate(app, token).await?;
    if shown.grant.as_ref().is_some_and(|grant| !grant.has(Scope::Read)) {
        return Err(ApiError::new(
            ProblemKind::Forbidden,
            "This API token lacks the scope `read`: it can send over REST.",
        ));
    }
    Ok(shown)
}

type Work = Pin<Box<dyn Future<Output = Result<Next, CloseCode>> + Send>>;

async fn run(app: App, mut socket: WebSocket, shown: Option<Authenticated>, wait_for_resume: bool) {
    let authenticated = match shown {
        Some(shown) => Ok((shown, None)),
        None => first_frame(&app, &mut socket).await,
    };
    let (Authenticated { principal, grant }, cursor) = match authenticated {
        Ok(authenticated) => authenticated,
        Err((frame, code)) => {
            if let Some(frame) = frame {
                // The client may have gone.
                let _ = socket.send(Message::Text(super::connection::encode(&frame))).await;
            }
            return close(socket, code).await;
        }
    };
    let (frames, queue) = mpsc::channel(app.config.send_queue_frames);
    let connection = Arc::new(Connection::new(
        principal.user_id,
        principal.session_id,
        grant,
        frames,
        app.config.send_queue_bytes,
        app.config.max_in_flight,
    ));
    if !app.connections.add(&connection) {
        return close(socket, CloseCode::TooMany).await;
    }
    app.presences.touch(connection.user_id);
    let start = Start { cursor, wait: wait_for_resume };
    let code =
        Session::new(app.clone(), Arc::clone(&connection), queue, principal.expires_at, start).run(&mut socket).await;
    connection.close(code.unwrap_or(CloseCode::GoingAway));
    // For those who wait for it.
    connection.started();
    app.connections.remove(&connection);
    app.presences.touch(connection.user_id);
    app.hub.leave(&connection);
    if let Some(code) = code {
        close(socket, code).await;
    }
}

/// The first frame of a connection that brought no token.
async fn first_frame(
    app: &App,
    socket: &mut WebSocket,
) -> Result<(Authenticated, Option<Cursor>), (Option<ServerFrame>, CloseCode)> {
    let problem = |kind, detail: &str| ServerFrame::Error {
        problem: Problem::new(kind, detail),
        client_message_id: None,
        client_operation_id: None,
    };
    let wait = Duration::from_secs(app.config.authenticate_seconds);
    let message = tokio::time::timeout(wait, socket.recv()).await;
    let Ok(Some(Ok(Message::Text(text)))) = message else {
        let detail = "Send an `authenticate` frame first, or a token in the Authorization header.";
        return Err((Some(problem(ProblemKind::Unauthenticated, detail)), CloseCode::Unauthenticated));
    };
    match inbound::parse(text.as_str(), app.config.max_frame_bytes) {
        Ok(ClientFrame::Authenticate { token, cursor }) => match enter(app, &token).await {
            Ok(shown) => Ok((shown, cursor)),
            Err(ApiError(problem)) => Err((
                Some(ServerFrame::Error { problem, client_message_id: None, client_operation_id: None }),
                CloseCode::Unauthenticated,
            )),
        },
        Ok(_) => Err((
            Some(problem(ProblemKind::Unauthenticated, "The first frame must be `authenticate`.")),
            CloseCode::Unauthenticated,
        )),
        Err(frame) => Err((Some(*frame), CloseCode::ProtocolError)),
    }
}

async fn close(mut socket: WebSocket, code: CloseCode) {
    let frame = CloseFrame { code: code.code(), reason: Utf8Bytes::from_static(code.reason()) };
    // The client may have gone; then there is nobody to tell. One that is only slow first has to read what lies before this.
    if matches!(tokio::time::timeout(WRITE_TIMEOUT, socket.send(Message::Close(Some(frame)))).await, Ok(Ok(()))) {
        let answer = async { while let Some(Ok(_)) = socket.recv().await {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), answer).await;
    }
}

/// Where the connection's events begin.
struct Start {
    cursor: Option<Cursor>,
    wait: bool,
}

/// The connection's task.
struct Session {
    app: App,
    connection: Arc<Connection>,
    queue: mpsc::Receiver<Utf8Bytes>,
    batch: Vec<Utf8Bytes>,
    /// What the last frame asked for; the next frame is read when it is done, so a client's frames keep their order.
    work: Option<Work>,
    /// Said hello, and waits for its `resume`.
    waiting: Option<Arc<tokio::sync::Mutex<Option<resume::Started>>>>,
    expires_at: Timestamp,
    /// The client was told that its token has run out.
    asked: bool,
    heard: Instant,
    bad_frames: u32,
}

impl Session {
    fn new(
        app: App,
        connection: Arc<Connection>,
        queue: mpsc::Receiver<Utf8Bytes>,
        expires_at: Timestamp,
        start: Start,
    ) -> Self {
        let waiting = start.wait.then(Arc::default);
        let work = begin(app.clone(), Arc::clone(&connection), start.cursor, waiting.clone());
        Self {
            app,
            connection,
            queue,
            batch: Vec::new(),
            work: Some(work),
            waiting,
            expires_at,
            asked: false,
            heard: Instant::now(),
            bad_frames: 0,
        }
    }

    /// Until the client goes (`None`) or must go.
    async fn run(mut self, socket: &mut WebSocket) -> Option<CloseCode> {
        let beat = Duration::from_secs(self.app.config.heartbeat_seconds);
        // Made once: a wait that is dropped and made again with every frame has to leave its list and enter it again.
        let mut next_beat = std::pin::pin!(tokio::time::sleep_until(Instant::now() + beat));
        let mut stopped = std::pin::pin!(self.app.stop.clone().cancelled_owned());
        loop {
            if let Some(code) = self.connection.closing() {
                return Some(code);
            }
            let may_read = self.work.is_none() && self.connection.may_send();
            tokio::select! {
                biased;
                () = &mut stopped => return Some(CloseCode::GoingAway),
                () = self.connection.wake.notified() => {}
                _ = self.queue.recv_many(&mut self.batch, WRITE_BATCH) => {
                    if let Err(code) = self.write(socket).await {
                        return code;
                    }
                }
                done = work(&mut self.work) => {
                    self.work = None;
                    if let Err(code) = done.and_then(|next| self.on_done(next)) {
                        return Some(code);
                    }
                }
                message = socket.recv(), if may_read => {
                    self.heard = Instant::now();
                    match message {
                        None | Some(Ok(Message::Close(_))) => return None,
                        // A client that is gone hears nothing of it; one that breaks the WebSocket protocol learns why this ends.
                        Some(Err(_)) => return Some(CloseCode::ProtocolError),
                        Some(Ok(message)) => if let Err(code) = self.on_message(message) {
                            return Some(code);
                        }
                    }
                }
                () = &mut next_beat => {
                    next_beat.as_mut().reset(Instant::now() + beat);
                    if let Err(code) = self.on_beat(socket, beat, may_read).await {
                        return code;
                    }
                }
            }
        }
    }

    async fn write(&mut self, socket: &mut WebSocket) -> Result<(), Option<CloseCode>> {
        let mut bytes = 0;
        let all = async {
            for frame in self.batch.drain(..) {
                bytes += frame.len();
                socket.feed(Message::Text(frame)).await?;
            }
            socket.flush().await
        };
        let written = tokio::time::timeout(WRITE_TIMEOUT, all).await;
        self.connection.written(bytes);
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(None),
            Err(_) => Err(Some(CloseCode::SlowConsumer)),
        }
    }

    async fn on_beat(
        &mut self,
        socket: &mut WebSocket,
        beat: Duration,
        reading: bool,
    ) -> Result<(), Option<CloseCode>> {
        let now = self.app.clock.now();
        if now > self.expires_at.plus(beat) {
            return Err(Some(CloseCode::Unauthenticated));
        }
        if now > self.expires_at && !self.asked {
            self.asked = true;
            let detail = "The access token has expired. Show a new one with `authenticate`, or this connection is closed at its next heartbeat.";
            let problem = Problem::new(ProblemKind::TokenExpired, detail);
            self.connection.send(&ServerFrame::Error { problem, client_message_id: None, client_operation_id: None });
        }
        if reading && self.heard.elapsed() > beat * 5 / 2 {
            return Err(Some(CloseCode::HeartbeatTimeout));
        }
        match tokio::time::timeout(WRITE_TIMEOUT, socket.send(Message::Ping(bytes::Bytes::new()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(None),
            Err(_) => Err(Some(CloseCode::SlowConsumer)),
        }
    }

    fn on_message(&mut self, message: Message) -> Result<(), CloseCode> {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => {
                let problem = Problem::new(ProblemKind::Malformed, "Send JSON as text frames, not binary ones.");
                self.connection.send(&ServerFrame::Error {
                    problem,
                    client_message_id: None,
                    client_operation_id: None,
                });
                return self.count_bad();
            }
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(()),
        };
        match inbound::parse(text.as_str(), self.app.config.max_frame_bytes) {
            Ok(frame) => {
                let class = inbound::class(&frame);
                if let Some(Err(wait)) = class.map(|class| self.app.limits.frame(self.connection.user_id, class)) {
                    self.connection.send(&inbound::too_soon(frame, wait));
                    // Not read till then: who does not heed the answer is slowed down by TCP.
                    self.work = Some(Box::pin(async move {
                        tokio::time::sleep(wait.min(LONGEST_REST)).await;
                        Ok(Next::Go)
                    }));
                    return Ok(());
                }
                let (app, connection) = (self.app.clone(), Arc::clone(&self.connection));
                self.work = Some(Box::pin(async move { Ok(inbound::handle(app, connection, frame).await) }));
                Ok(())
            }
            Err(error) => {
                self.connection.send(&error);
                self.count_bad()
            }
        }
    }

    fn count_bad(&mut self) -> Result<(), CloseCode> {
        self.bad_frames += 1;
        if self.bad_frames > MAX_BAD_FRAMES { Err(CloseCode::ProtocolError) } else { Ok(()) }
    }

    fn on_done(&mut self, next: Next) -> Result<(), CloseCode> {
        match next {
            Next::Go => Ok(()),
            Next::Authenticated(principal) => {
                (self.expires_at, self.asked) = (principal.expires_at, false);
                inbound::is_other_session(&self.connection, principal.session_id).map_or(Ok(()), Err)
            }
            Next::Refused(problem) => {
                self.connection.send(&ServerFrame::Error {
                    problem,
                    client_message_id: None,
                    client_operation_id: None,
                });
                self.count_bad()
            }
            Next::Resume(cursor, last_events) => {
                let Some(waiting) = self.waiting.take() else {
                    let detail = "Resume is the first frame of a connection opened at /ws?resume=true.";
                    let problem = Problem::new(ProblemKind::Malformed, detail);
                    self.connection.send(&ServerFrame::Error {
                        problem,
                        client_message_id: None,
                        client_operation_id: None,
                    });
                    return self.count_bad();
                };
                let (app, connection) = (self.app.clone(), Arc::clone(&self.connection));
                self.work = Some(Box::pin(async move {
                    if let Some(started) = waiting.lock().await.take() {
                        started.resume(&app, &connection, &cursor, &last_events).await?;
                    }
                    Ok(Next::Go)
                }));
                Ok(())
            }
        }
    }
}

fn begin(
    app: App,
    connection: Arc<Connection>,
    cursor: Option<Cursor>,
    waiting: Option<Arc<tokio::sync::Mutex<Option<resume::Started>>>>,
) -> Work {
    Box::pin(async move {
        let started = resume::start(&app, &connection).await?;
        match (cursor, waiting) {
            (Some(cursor), _) => started.resume(&app, &connection, &cursor, &LastEvents::new()).await?,
            (None, Some(waiting)) => *waiting.lock().await = Some(started),
            (None, None) => started.live(&app, &connection).await?,
        }
        Ok(Next::Go)
    })
}

async fn work(slot: &mut Option<Work>) -> Result<Next, CloseCode> {
    match slot {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
