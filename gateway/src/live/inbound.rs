//! What a client's frames do.

use std::sync::Arc;
use std::time::Duration;

use sealpost_lane::{Appended, LaneError, Progress, Waiter};
use sealpost_schema::{
    AckLevel, ClientFrame, ClientMessageId, CloseCode, ConversationId, MessageId, Problem, ProblemKind, Seq,
    ServerFrame,
};

use super::Connection;
use crate::auth::{Principal, Scope, authenticate};
use crate::conversations::find_start;
use crate::drafts;
use crate::limits::Class;
use crate::messages::{self, Change, Outgoing};
use crate::presence;
use crate::problem::{ApiError, ApiResult};
use crate::receipts::{self, Reached};
use crate::state::App;

/// What the connection's task does after a frame.
pub enum Next {
    Go,
    /// The client has shown a new token.
    Authenticated(Principal),
    /// It is not good.
    Refused(Problem),
    Resume(sealpost_schema::Cursor, sealpost_schema::LastEvents),
}

/// What a frame counts as. `None`: a connection has one such frame, and no more.
pub fn class(frame: &ClientFrame) -> Option<Class> {
    match frame {
        ClientFrame::Resume { .. } => None,
        ClientFrame::Message { .. }
        | ClientFrame::MessageEdit { .. }
        | ClientFrame::MessageDelete { .. }
        | ClientFrame::Reaction { .. }
        | ClientFrame::MessagePin { .. }
        | ClientFrame::Draft { .. } => Some(Class::Write),
        ClientFrame::Ping { .. }
        | ClientFrame::Authenticate { .. }
        | ClientFrame::MessageRead { .. }
        | ClientFrame::MessageDelivered { .. }
        | ClientFrame::KeyExchange { .. }
        | ClientFrame::Watch { .. }
        | ClientFrame::TypingStart { .. }
        | ClientFrame::TypingStop { .. }
        | ClientFrame::PresenceUpdate { .. } => Some(Class::Signal),
    }
}

/// The answer to a frame that came too soon.
pub fn too_soon(frame: ClientFrame, wait: Duration) -> ServerFrame {
    let (client_message_id, client_operation_id) = match frame {
        ClientFrame::Message { client_message_id, .. } => (Some(client_message_id), None),
        ClientFrame::MessageEdit { client_operation_id, .. }
        | ClientFrame::MessageDelete { client_operation_id, .. }
        | ClientFrame::Reaction { client_operation_id, .. }
        | ClientFrame::KeyExchange { client_operation_id }
        | ClientFrame::MessagePin { client_operation_id, .. } => (None, client_operation_id),
        _ => (None, None),
    };
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
    let detail = format!("Too many frames of this kind. Send it again in {millis} ms.");
    let mut problem = Problem::new(ProblemKind::TooManyRequests, detail);
    problem.retry_after_ms = Some(millis);
    ServerFrame::Error { problem, client_message_id, client_operation_id }
}

/// What a client calls what it asked for.
#[derive(Default)]
struct Names {
    client_message_id: Option<ClientMessageId>,
    client_operation_id: Option<ClientMessageId>,
}

/// As [`ClientFrame`] knows them.
const CLIENT_FRAMES: [&str; 16] = [
    "authenticate",
    "ping",
    "message",
    "key_exchange",
    "resume",
    "message_read",
    "message_edit",
    "message_delete",
    "reaction",
    "message_pin",
    "draft",
    "message_delivered",
    "watch",
    "typing_start",
    "typing_stop",
    "presence_update",
];

/// Reads a text frame; a problem if it is none.
pub fn parse(text: &str, max_bytes: usize) -> Result<ClientFrame, Box<ServerFrame>> {
    let error = |kind, detail: String, names: Names| {
        let Names { client_message_id, client_operation_id } = names;
        Box::new(ServerFrame::Error { problem: Problem::new(kind, detail), client_message_id, client_operation_id })
    };
    if text.len() > max_bytes {
        let detail =
            format!("The frame has {} bytes; this server takes {max_bytes}. Send less in one frame.", text.len());
        return Err(error(ProblemKind::FrameTooLarge, detail, Names::default()));
    }
    if let Some(frame) = parse_message(text) {
        return Ok(frame);
    }
    serde_json::from_str(text).or_else(|cause| {
        #[derive(serde::Deserialize)]
        struct Outline {
            r#type: Option<serde_json::Value>,
            client_message_id: Option<ClientMessageId>,
            client_operation_id: Option<ClientMessageId>,
        }
        let Ok(outline) = serde_json::from_str::<Outline>(text) else {
            return Err(error(
                ProblemKind::Malformed,
                format!("The frame is not a JSON object as documented: {cause}."),
                Names::default(),
            ));
        };
        let Outline { client_message_id, client_operation_id, .. } = outline;
        let names = Names { client_message_id, client_operation_id };
        Err(match outline.r#type.as_ref().and_then(serde_json::Value::as_str) {
            // What it will hold is not decided, so nothing in it is wrong.
            Some("key_exchange") => {
                return Ok(ClientFrame::KeyExchange { client_operation_id: names.client_operation_id });
            }
            Some(name) if CLIENT_FRAMES.contains(&name) => {
                error(ProblemKind::Malformed, format!("The frame is not as documented: {cause}."), names)
            }
            Some(other) => {
                let other: String = other.chars().take(40).collect();
                let detail = format!("This server knows no frame of type `{other}`. See /openapi/websocket.json.");
                error(ProblemKind::UnknownFrame, detail, names)
            }
            None => error(ProblemKind::Malformed, "The frame has no `type`.".to_owned(), names),
        })
    })
}

/// A message whose `type` comes first, as in nearly all frames: read straight, for half the cost. What does not fit is read again, for
/// the error.
fn parse_message(text: &str) -> Option<ClientFrame> {
    /// As [`ClientFrame::Message`].
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Message {
        #[serde(rename = "type")]
        _type: serde::de::IgnoredAny,
        conversation_id: ConversationId,
        client_message_id: ClientMessageId,
        text: String,
        #[serde(default)]
        ack: AckLevel,
        #[serde(default)]
        retry: bool,
        #[serde(default)]
        reply_to: Option<MessageId>,
        #[serde(default)]
        thread_id: Option<MessageId>,
    }

    let message = text.starts_with(r#"{"type":"message","#).then(|| serde_json::from_str(text).ok())??;
    let Message { conversation_id, client_message_id, text, ack, retry, reply_to, thread_id, .. } = message;
    Some(ClientFrame::Message { conversation_id, client_message_id, text, ack, retry, reply_to, thread_id })
}

/// Does what a frame asks for. Answers go into the connection's queue.
pub async fn handle(app: App, connection: Arc<Connection>, frame: ClientFrame) -> Next {
    match frame {
        ClientFrame::Ping { id } => connection.send(&ServerFrame::Pong { id }),
        ClientFrame::Authenticate { token, .. } => {
            return match authenticate(&app, &token).await {
                Ok(shown) => Next::Authenticated(shown.principal),
                Err(ApiError(problem)) => Next::Refused(problem),
            };
        }
        ClientFrame::Resume { cursor, last_events } => return Next::Resume(cursor, last_events),
        ClientFrame::MessageRead { conversation_id, seq } => {
            let marked = receipts::mark(&app, &connection, conversation_id, Reached::Read(seq)).await;
            answer(&connection, marked);
        }
        ClientFrame::MessageDelivered { conversation_id, seq } => {
            let marked = receipts::mark(&app, &connection, conversation_id, Reached::Delivered(seq)).await;
            answer(&connection, marked);
        }
        ClientFrame::Watch { conversation_ids } => {
            answer(&connection, presence::watch(&app, &connection, conversation_ids));
        }
        ClientFrame::TypingStart { conversation_id } => {
            answer(&connection, presence::typing(&app, &connection, conversation_id, true).await);
        }
        ClientFrame::TypingStop { conversation_id } => {
            answer(&connection, presence::typing(&app, &connection, conversation_id, false).await);
        }
        ClientFrame::PresenceUpdate { status } => {
            connection.set_presence(status);
            app.presences.touch(connection.user_id);
        }
        ClientFrame::MessageEdit { conversation_id, message_id, text, client_operation_id } => {
            change(&app, &connection, conversation_id, message_id, client_operation_id, Change::Edit(text)).await;
        }
        ClientFrame::MessageDelete { conversation_id, message_id, client_operation_id } => {
            change(&app, &connection, conversation_id, message_id, client_operation_id, Change::Delete).await;
        }
        ClientFrame::Reaction { conversation_id, message_id, emoji, remove, client_operation_id } => {
            let what = Change::React { emoji, add: !remove };
            change(&app, &connection, conversation_id, message_id, client_operation_id, what).await;
        }
        ClientFrame::MessagePin { conversation_id, message_id, remove, client_operation_id } => {
            let what = Change::Pin { add: !remove };
            change(&app, &connection, conversation_id, message_id, client_operation_id, what).await;
        }
        ClientFrame::KeyExchange { client_operation_id } => {
            let detail = "Frames of type `key_exchange` are for end-to-end encrypted conversations, which this server does not have yet. Nothing was passed on.";
            let problem = Problem::new(ProblemKind::ReservedFrame, detail);
            connection.send(&ServerFrame::Error { problem, client_message_id: None, client_operation_id });
        }
        ClientFrame::Draft { conversation_id, text } => {
            let (user, session) = (connection.user_id, connection.session_id);
            let put = match connection.check(Scope::Send, conversation_id) {
                Ok(()) => drafts::put(&app, user, session, conversation_id, text).await.map(|_| ()),
                Err(error) => Err(error),
            };
            if let Err(ApiError(problem)) = put {
                connection.send(&ServerFrame::Error { problem, client_message_id: None, client_operation_id: None });
            }
        }
        ClientFrame::Message { conversation_id, client_message_id, text, ack, retry, reply_to, thread_id } => {
            let outgoing = Outgoing { conversation_id, client_message_id, text, reply_to, thread_id, retry };
            send(&app, &connection, outgoing, ack).await;
        }
    }
    Next::Go
}

/// Returns when the log has the change, so that the next frame is read with it in place; its ack comes when the store has it.
async fn change(
    app: &App,
    connection: &Arc<Connection>,
    conversation: ConversationId,
    message: MessageId,
    client_operation_id: Option<ClientMessageId>,
    what: Change,
) {
    let user = connection.user_id;
    let accepted = async {
        connection.check(Scope::Send, conversation)?;
        messages::change(app, user, Some(conversation), message, what).await
    };
    match accepted.await {
        Ok(accepted) => {
            connection.begin_send();
            let connection = Arc::clone(connection);
            app.tasks.spawn(async move {
                let done = accepted.stored().await;
                connection.end_send();
                connection.send(&ServerFrame::ChangeAck {
                    client_operation_id,
                    conversation_id: done.conversation_id,
                    message_id: done.message_id,
                    changed: done.changed,
                    seq: done.seq,
                    stored: done.stored,
                });
            });
        }
        Err(ApiError(problem)) => {
            connection.send(&ServerFrame::Error { problem, client_message_id: None, client_operation_id });
        }
    }
}

/// What went wrong; what went right has no answer.
fn answer(connection: &Connection, done: ApiResult<()>) {
    if let Err(ApiError(problem)) = done {
        connection.send(&ServerFrame::Error { problem, client_message_id: None, client_operation_id: None });
    }
}

async fn send(app: &App, connection: &Arc<Connection>, outgoing: Outgoing, ack: AckLevel) {
    connection.begin_send();
    let name = outgoing.client_message_id.clone();
    if let Err(error) = connection.check(Scope::Send, outgoing.conversation_id) {
        return fail(connection, name, error);
    }
    let waiter = waiter(app.clone(), Arc::clone(connection), outgoing.clone(), ack);
    if let Err(error) = messages::submit(app, connection.user_id, outgoing, waiter).await {
        fail(connection, name, error);
    }
}

fn fail(connection: &Connection, name: ClientMessageId, ApiError(problem): ApiError) {
    connection.end_send();
    connection.send(&ServerFrame::Error { problem, client_message_id: Some(name), client_operation_id: None });
}

/// Turns the lane's progress into frames. Called in the lane's task: it only queues.
fn waiter(app: App, connection: Arc<Connection>, outgoing: Outgoing, ack: AckLevel) -> Waiter {
    let mut sending = Some(Sending { app, connection, outgoing, ack, appended: None, answered: false });
    Box::new(move |progress| {
        if let Some(state) = &mut sending
            && state.on(progress)
        {
            sending = None;
        }
    })
}

struct Sending {
    app: App,
    connection: Arc<Connection>,
    outgoing: Outgoing,
    ack: AckLevel,
    appended: Option<Appended>,
    answered: bool,
}

impl Sending {
    /// True: nothing more is to be told.
    fn on(&mut self, progress: Progress) -> bool {
        match progress {
            Progress::Failed(error) => {
                self.fail(&error);
                true
            }
            Progress::Accepted { appended, stored } => {
                if appended.duplicate {
                    self.answer_duplicate(appended, stored);
                    return true;
                }
                self.appended = Some(appended);
                if stored || self.ack == AckLevel::Accepted {
                    self.answer(if stored { AckLevel::Stored } else { AckLevel::Accepted }, stored);
                }
                stored
            }
            Progress::Overdue => {
                if !self.answered {
                    self.answer(AckLevel::Accepted, false);
                }
                false
            }
            Progress::Stored => {
                if self.answered {
                    self.send_stored();
                } else {
                    self.answer(AckLevel::Stored, true);
                }
                true
            }
            Progress::Voided { original_seq, .. } => {
                self.answer_voided(original_seq);
                true
            }
        }
    }

    fn fail(&mut self, error: &LaneError) {
        fail(&self.connection, self.outgoing.client_message_id.clone(), ApiError::lane(error));
        self.answered = true;
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.answered, true) {
            self.connection.end_send();
        }
    }

    fn answer(&mut self, level: AckLevel, stored: bool) {
        self.end();
        if let Some(appended) = &self.appended {
            self.connection.send(&ack_frame(&self.outgoing, appended, level, stored));
        }
    }

    fn send_stored(&self) {
        if let Some(appended) = &self.appended {
            self.connection.send(&ServerFrame::Stored {
                client_message_id: self.outgoing.client_message_id.clone(),
                conversation_id: self.outgoing.conversation_id,
                message_id: appended.event.id.into(),
                seq: appended.event.seq,
            });
        }
    }

    /// The store found that the name was used long before.
    fn answer_voided(&mut self, original: Seq) {
        let (app, conversation) = (self.app.clone(), self.outgoing.conversation_id);
        self.answer_again(AckLevel::Stored, async move { messages::first(&app, conversation, original).await });
    }

    /// The lane knows the name.
    fn answer_duplicate(&mut self, appended: Appended, stored: bool) {
        let level = if stored { AckLevel::Stored } else { AckLevel::Accepted };
        self.answer_again(level, async { Ok(appended) });
    }

    /// The same id was sent before: the first answer again, or a refusal if the text differs. Opening may need the store, so it has its
    /// own task.
    fn answer_again(&mut self, level: AckLevel, first: impl Future<Output = ApiResult<Appended>> + Send + 'static) {
        let waits = !std::mem::replace(&mut self.answered, true);
        let (app, connection, outgoing) = (self.app.clone(), Arc::clone(&self.connection), self.outgoing.clone());
        self.app.tasks.spawn(async move {
            let same = async {
                let first = first.await?;
                messages::check_same(&app, &outgoing, &first).await?;
                Ok(first)
            };
            let answer = match same.await {
                Ok(first) => ack_frame(&outgoing, &first, level, level == AckLevel::Stored),
                Err(ApiError(problem)) => ServerFrame::Error {
                    problem,
                    client_message_id: Some(outgoing.client_message_id),
                    client_operation_id: None,
                },
            };
            if waits {
                connection.end_send();
            }
            connection.send(&answer);
        });
    }
}

fn ack_frame(outgoing: &Outgoing, appended: &Appended, level: AckLevel, stored: bool) -> ServerFrame {
    ServerFrame::MessageAck {
        client_message_id: outgoing.client_message_id.clone(),
        conversation_id: outgoing.conversation_id,
        message_id: appended.event.id.into(),
        seq: appended.event.seq,
        level,
        stored,
        duplicate: appended.duplicate,
    }
}

/// Tells the connections of one user that they joined a conversation: they see it from `seq` on (`None`: all that they may see).
pub fn join(app: &App, connections: Vec<Arc<Connection>>, id: ConversationId, seq: Option<Seq>) {
    let Some(user) = connections.first().map(|connection| connection.user_id) else { return };
    let app = app.clone();
    app.tasks.clone().spawn(async move {
        let start = match find_start(&app, user, id).await {
            Ok(Some(start)) => start.max(seq.unwrap_or(Seq(1))),
            Ok(None) => return,
            Err(_) => return connections.iter().for_each(|connection| connection.close(CloseCode::TryAgainLater)),
        };
        let all = connections.iter().map(|connection| enter(&app, connection, id, start));
        futures_util::future::join_all(all).await;
    });
}

async fn enter(app: &App, connection: &Arc<Connection>, id: ConversationId, from: Seq) {
    if let Err(code) = super::resume::join(app, connection, id, from).await {
        connection.close(code);
    }
    if connection.closing().is_some() {
        app.hub.leave(connection);
    }
}

/// A token on an open connection must be of the same session: when that ends, the connection must close.
pub fn is_other_session(connection: &Connection, session: sealpost_schema::SessionId) -> Option<CloseCode> {
    (connection.session_id != session).then_some(CloseCode::Unauthenticated)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str =
        r#"{"type":"message","conversation_id":"0198a1b2-0000-7000-8000-000000000001","client_message_id":"m-1""#;

    #[test]
    fn the_short_way_reads_messages_as_the_long_way_does() {
        let ends = [
            r#","text":"hi"}"#,
            r#","text":"\u00e9\n","ack":"accepted","retry":true}"#,
            r#","retry":false,"text":""}"#,
        ];
        for end in ends {
            let text = format!("{START}{end}");
            let short = parse_message(&text);
            assert_eq!(short, Some(serde_json::from_str(&text).unwrap()), "{text}");
            assert_eq!(short, parse(&text, 1000).ok());
        }
    }

    #[test]
    fn whatever_a_reserved_frame_holds_it_is_known_as_one() {
        for rest in [
            "",
            r#","client_operation_id":"o-1""#,
            r#","conversation_id":7,"keys":[{"a":null}],"client_operation_id":"o-1""#,
        ] {
            let frame = parse(&format!(r#"{{"type":"key_exchange"{rest}}}"#), 1000);
            let name = rest.contains("o-1").then(|| ClientMessageId::try_from("o-1".to_owned()).unwrap());
            assert_eq!(frame, Ok(ClientFrame::KeyExchange { client_operation_id: name }), "{rest}");
        }
    }

    #[test]
    fn what_the_long_way_refuses_the_short_way_does_not_take() {
        let ends = [
            "",
            "}",
            r#","text":7}"#,
            r#","text":"a","text":"b"}"#,
            r#","text":"a","other":1}"#,
            r#","text":"a","type":"ping"}"#,
            r#","text":"a"} x"#,
        ];
        for end in ends {
            let text = format!("{START}{end}");
            assert_eq!(parse_message(&text), None, "{text}");
            assert!(parse(&text, 1000).is_err(), "{text}");
        }
        assert_eq!(parse_message(r#"{"type":"ping"}"#), None);
    }
}
