//! The frames as bytes. What arrives thousands of times a second is read by position; everything else by serde.

use std::borrow::Cow;

use serde::Deserialize;
use uuid::Uuid;

/// What the load generator makes of a server frame. Text is borrowed from the frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A delivered message.
    Message {
        conversation_id: &'a str,
        seq: u64,
        client_message_id: &'a str,
    },
    /// Another numbered event.
    Event {
        conversation_id: &'a str,
        seq: u64,
    },
    /// `stored` is false as long as the message is accepted only.
    Acknowledged {
        client_message_id: &'a str,
        stored: bool,
    },
    /// The server left out events.
    Gap {
        conversation_id: &'a str,
        to_seq: u64,
    },
    Error {
        client_message_id: Option<&'a str>,
        problem: String,
    },
    /// Carries nothing that is measured.
    Other,
}

pub fn parse(text: &str) -> Result<Frame<'_>, serde_json::Error> {
    match message_by_position(text).or_else(|| acknowledgement_by_position(text)) {
        Some(frame) => Ok(frame),
        None => parse_any(text),
    }
}

/// `{"type":"message","conversation_id":"…","seq":7,"message_id":"…","client_message_id":"…",…`
fn message_by_position(text: &str) -> Option<Frame<'_>> {
    let rest = text.strip_prefix(r#"{"type":"message","conversation_id":""#)?;
    let (conversation_id, rest) = rest.split_at_checked(36)?;
    let (seq, rest) = number(rest.strip_prefix(r#"","seq":"#)?)?;
    let (_, rest) = rest.strip_prefix(r#","message_id":""#)?.split_at_checked(36)?;
    let (client_message_id, _) = rest.strip_prefix(r#"","client_message_id":""#)?.split_once('"')?;
    Some(Frame::Message { conversation_id, seq, client_message_id })
}

/// `{"type":"message_ack","client_message_id":"…","conversation_id":"…","message_id":"…","seq":7,"level":"stored","stored":true,…`
fn acknowledgement_by_position(text: &str) -> Option<Frame<'_>> {
    let rest = text.strip_prefix(r#"{"type":"message_ack","client_message_id":""#)?;
    let (client_message_id, rest) = rest.split_once('"')?;
    let (_, rest) = rest.strip_prefix(r#","conversation_id":""#)?.split_at_checked(36)?;
    let (_, rest) = rest.strip_prefix(r#"","message_id":""#)?.split_at_checked(36)?;
    let (_, rest) = number(rest.strip_prefix(r#"","seq":"#)?)?;
    let rest = rest.strip_prefix(r#","level":"stored","stored":true"#)?;
    rest.starts_with([',', '}']).then_some(Frame::Acknowledged { client_message_id, stored: true })
}

fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[derive(Deserialize)]
struct AnyFrame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    conversation_id: Option<&'a str>,
    client_message_id: Option<&'a str>,
    seq: Option<u64>,
    to_seq: Option<u64>,
    stored: Option<bool>,
    #[serde(borrow)]
    problem: Option<AnyProblem<'a>>,
}

#[derive(Deserialize)]
struct AnyProblem<'a> {
    #[serde(borrow)]
    title: Cow<'a, str>,
    #[serde(borrow)]
    detail: Cow<'a, str>,
}

fn parse_any(text: &str) -> Result<Frame<'_>, serde_json::Error> {
    let frame: AnyFrame<'_> = serde_json::from_str(text)?;
    Ok(match (&*frame.kind, frame.conversation_id, frame.seq, frame.client_message_id) {
        ("message", Some(conversation_id), Some(seq), Some(client_message_id)) => {
            Frame::Message { conversation_id, seq, client_message_id }
        }
        ("message_ack", _, _, Some(client_message_id)) => {
            Frame::Acknowledged { client_message_id, stored: frame.stored == Some(true) }
        }
        ("stored", _, _, Some(client_message_id)) => Frame::Acknowledged { client_message_id, stored: true },
        ("gap", Some(conversation_id), ..) => Frame::Gap { conversation_id, to_seq: frame.to_seq.unwrap_or_default() },
        ("error", _, _, client_message_id) => Frame::Error {
            client_message_id,
            problem: frame.problem.map_or_else(String::new, |problem| format!("{}: {}", problem.title, problem.detail)),
        },
        (_, Some(conversation_id), Some(seq), _) => Frame::Event { conversation_id, seq },
        _ => Frame::Other,
    })
}

/// The first frame of a connection.
#[derive(Deserialize)]
pub struct Ready {
    pub conversations: Vec<Head>,
}

#[derive(Deserialize)]
pub struct Head {
    pub conversation_id: Uuid,
    pub head_seq: u64,
}

impl Ready {
    /// None if the frame is another one.
    pub fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(tag = "type", rename_all = "snake_case")]
        enum First {
            Ready(Ready),
        }
        let First::Ready(ready) = serde_json::from_str(text).ok()?;
        Some(ready)
    }
}

/// Builds the messages of one sender; client message ids are `<run>-<index>`.
pub struct Writer {
    before: String,
    after: String,
    run: String,
}

impl Writer {
    pub fn new(conversation_id: Uuid, run: &str, text_bytes: usize) -> Self {
        let filler = "The quick brown fox jumps over the lazy dog. ";
        let text: String = filler.chars().cycle().take(text_bytes).collect();
        Self {
            before: format!(r#"{{"type":"message","conversation_id":"{conversation_id}","client_message_id":"{run}-"#),
            after: format!(r#"","text":"{text}","ack":"stored"}}"#),
            run: format!("{run}-"),
        }
    }

    pub fn message(&self, index: usize) -> String {
        use std::fmt::Write as _;
        let mut frame = String::with_capacity(self.before.len() + self.after.len() + 20);
        frame.push_str(&self.before);
        let _ = write!(frame, "{index}");
        frame.push_str(&self.after);
        frame
    }

    /// The index of a message of this run; None for one of an earlier run.
    pub fn index_of(&self, client_message_id: &str) -> Option<usize> {
        client_message_id.strip_prefix(&self.run)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use sealpost_schema::{
        AckLevel, ClientFrame, ClientMessageId, ConversationHead, ConversationId, EventId, MessageId, Problem,
        ProblemKind, Seq, ServerFrame, SessionId, Timestamp, UserId,
    };

    use super::*;

    fn json(frame: &ServerFrame) -> String {
        serde_json::to_string(frame).unwrap()
    }

    fn client_id() -> ClientMessageId {
        ClientMessageId::try_from("ab12-17".to_owned()).unwrap()
    }

    fn message(conversation_id: ConversationId, text: &str) -> ServerFrame {
        ServerFrame::Message {
            conversation_id,
            seq: Seq(42),
            message_id: MessageId::new(),
            client_message_id: client_id(),
            sender_id: UserId::new(),
            created_at: timestamp(),
            text: Some(text.to_owned()),
            unreadable: false,
            reply_to: None,
            thread_id: None,
            mentions: Vec::new(),
            mentions_all: false,
            expires_at: None,
        }
    }

    fn timestamp() -> Timestamp {
        serde_json::from_str("\"2026-01-02T03:04:05.678Z\"").unwrap()
    }

    fn acknowledgement(level: AckLevel, stored: bool) -> ServerFrame {
        ServerFrame::MessageAck {
            client_message_id: client_id(),
            conversation_id: ConversationId::new(),
            message_id: MessageId::new(),
            seq: Seq(9),
            level,
            stored,
            duplicate: false,
        }
    }

    /// If the schema's order of fields changes, the generator still works, but slower: this says so.
    #[test]
    fn the_frequent_frames_are_read_by_position() {
        let id = ConversationId::new();
        let text = json(&message(id, r#"a "seq":1 and "client_message_id":"x" inside"#));
        let expected = Frame::Message { conversation_id: &id.to_string(), seq: 42, client_message_id: "ab12-17" };
        assert_eq!(message_by_position(&text), Some(expected));
        let ack = json(&acknowledgement(AckLevel::Stored, true));
        let expected = Frame::Acknowledged { client_message_id: "ab12-17", stored: true };
        assert_eq!(acknowledgement_by_position(&ack), Some(expected));
    }

    #[test]
    fn another_layout_gives_the_same_frame() {
        let id = ConversationId::new();
        let text = json(&message(id, "with \"quotes\"\nand lines"));
        let spaced = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&text).unwrap()).unwrap();
        assert_eq!(message_by_position(&spaced), None);
        assert_eq!(parse(&spaced).unwrap(), parse(&text).unwrap());
    }

    #[test]
    fn rare_frames_are_told_apart() {
        let late = json(&acknowledgement(AckLevel::Accepted, false));
        assert_eq!(parse(&late).unwrap(), Frame::Acknowledged { client_message_id: "ab12-17", stored: false });
        let (conversation_id, id) = (ConversationId::new(), EventId::new());
        let stored =
            ServerFrame::Stored { client_message_id: client_id(), conversation_id, message_id: id.into(), seq: Seq(9) };
        assert_eq!(parse(&json(&stored)).unwrap(), Frame::Acknowledged { client_message_id: "ab12-17", stored: true });
        let name = conversation_id.to_string();
        let gap = ServerFrame::Gap { conversation_id, from_seq: Seq(2), to_seq: Seq(8) };
        assert_eq!(parse(&json(&gap)).unwrap(), Frame::Gap { conversation_id: &name, to_seq: 8 });
        let void = ServerFrame::Void { conversation_id, seq: Seq(3), event_id: id, created_at: timestamp() };
        assert_eq!(parse(&json(&void)).unwrap(), Frame::Event { conversation_id: &name, seq: 3 });
        assert_eq!(parse(&json(&ServerFrame::Pong { id: Some(1) })).unwrap(), Frame::Other);
        assert!(parse("{\"type\":").is_err());
    }

    #[test]
    fn a_refusal_names_its_message_and_its_reason() {
        let problem = Problem {
            kind: ProblemKind::Invalid,
            title: "A value is not allowed".to_owned(),
            status: 422,
            detail: "`text` is \"empty\"".to_owned(),
            request_id: None,
            retry_after: None,
            retry_after_ms: None,
        };
        let text =
            json(&ServerFrame::Error { problem, client_message_id: Some(client_id()), client_operation_id: None });
        let expected = Frame::Error {
            client_message_id: Some("ab12-17"),
            problem: "A value is not allowed: `text` is \"empty\"".to_owned(),
        };
        assert_eq!(parse(&text).unwrap(), expected);
    }

    #[test]
    fn ready_says_where_conversations_stand() {
        let conversation_id = ConversationId::new();
        let ready = ServerFrame::Ready {
            user_id: UserId::new(),
            session_id: SessionId::new(),
            heartbeat_seconds: 30,
            reconnect_within_ms: 500,
            conversations: vec![ConversationHead { conversation_id, head_seq: Seq(5) }],
        };
        let ready = Ready::parse(&json(&ready)).unwrap();
        assert_eq!((ready.conversations[0].conversation_id, ready.conversations[0].head_seq), (conversation_id.0, 5));
        assert!(Ready::parse("{\"type\":\"pong\"}").is_none());
    }

    #[test]
    fn messages_are_valid_client_frames_of_the_wanted_size() {
        let conversation_id = Uuid::now_v7();
        let writer = Writer::new(conversation_id, "ab12", 200);
        let frame: ClientFrame = serde_json::from_str(&writer.message(17)).unwrap();
        let ClientFrame::Message { text, client_message_id, ack, .. } = frame else { panic!("{frame:?}") };
        assert_eq!((text.len(), client_message_id.as_str(), ack), (200, "ab12-17", AckLevel::Stored));
        assert_eq!(writer.index_of("ab12-17"), Some(17));
        assert_eq!(writer.index_of("ff00-17"), None);
    }
}
