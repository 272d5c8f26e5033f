//! What clients did, were told and saw in a run, and what was done to the servers meanwhile: one [`Entry`] after the other, JSON lines on
//! disk. The [checker](crate::checker) reads nothing else, so a verdict can be given again from the file.
//!
//! An operation is invoked once, may be attempted again, and ends as `ok`, `fail` (surely nothing was done) or `info` (unknown). **A
//! time-out, a cut connection or a server error after sending is `info`, never `fail`.**

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Number of a user, device, conversation, gateway or connection in this run.
pub type Number = u32;
/// Number of an operation in this run.
pub type OpId = u64;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the run began, on the harness's monotonic clock.
    pub at: u64,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    User {
        user: Number,
        id: Uuid,
    },
    Device {
        device: Number,
        user: Number,
    },
    Conversation {
        conversation: Number,
        id: Uuid,
        /// Who was in it when the run began.
        members: Vec<Number>,
    },
    Invoke {
        op: OpId,
        device: Number,
        call: Call,
    },
    /// The same operation is tried again, with the same client message id.
    Again {
        op: OpId,
    },
    Ok {
        op: OpId,
        answer: Answer,
    },
    Fail {
        op: OpId,
        reason: String,
    },
    Info {
        op: OpId,
        reason: String,
    },
    /// A WebSocket said `ready`.
    Open {
        device: Number,
        connection: Number,
        gateway: Number,
    },
    /// An event came over a WebSocket.
    Received {
        device: Number,
        connection: Number,
        event: Seen,
    },
    /// A `gap` frame: these are not sent here.
    Skipped {
        device: Number,
        connection: Number,
        conversation: Number,
        from: u64,
        to: u64,
    },
    /// A `rewound` frame: what the device has after this seq was not so, and comes anew.
    Rewound {
        device: Number,
        connection: Number,
        conversation: Number,
        after: u64,
    },
    /// A device said over its WebSocket how far it has got: there is no answer to that.
    Marked {
        device: Number,
        connection: Number,
        conversation: Number,
        read: bool,
        seq: u64,
    },
    /// A `receipt` frame came over a WebSocket.
    Told {
        device: Number,
        connection: Number,
        conversation: Number,
        mark: Mark,
    },
    Closed {
        device: Number,
        connection: Number,
        code: Option<u16>,
    },
    FaultStart {
        fault: String,
        target: String,
        /// The event log may forget records that it had acknowledged.
        forgets: bool,
    },
    FaultStop {
        fault: String,
        target: String,
    },
    /// After healing: a whole conversation, read through one gateway by one user.
    Final {
        gateway: Number,
        user: Number,
        conversation: Number,
        events: Vec<Seen>,
    },
    /// After healing: a device has been given the time to catch up.
    CaughtUp {
        device: Number,
    },
    Settled(Settled),
    Resources(Resources),
    /// How connections that never read were ended: with a code, cut without one, or (0) not at all.
    SlowReaders {
        codes: Vec<Option<u16>>,
        /// By how much the memory of all gateways grew meanwhile.
        #[serde(default)]
        grown_kib: u64,
        /// Long messages that were taken meanwhile, and milliseconds from the first connection to the last of them.
        #[serde(default)]
        said: u32,
        #[serde(default)]
        took_ms: u64,
    },
    /// Plaintext of messages was looked for where there must be none.
    Secrecy {
        places: u64,
        hits: Vec<String>,
    },
    /// A process ended that nobody had told to.
    Died {
        process: String,
        status: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    Send {
        conversation: Number,
        name: String,
        text: String,
    },
    /// A page of history: the newest messages, or those after a seq.
    History {
        conversation: Number,
        after: Option<u64>,
    },
    Delete {
        conversation: Number,
        seq: u64,
        /// It keeps its id, whatever its number becomes.
        #[serde(default)]
        message: Uuid,
    },
    /// No two edits of a run have the same text.
    Edit {
        conversation: Number,
        message: Uuid,
        text: String,
    },
    React {
        conversation: Number,
        message: Uuid,
        emoji: String,
        added: bool,
    },
    /// Says over REST that everything up to this seq was read: stored when it is answered.
    Read {
        conversation: Number,
        seq: u64,
    },
    /// Everybody's watermarks.
    Receipts {
        conversation: Number,
    },
    Add {
        conversation: Number,
        user: Number,
    },
    Remove {
        conversation: Number,
        user: Number,
    },
    /// Ends the session of the device.
    SignOut,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    Sent {
        message_id: Uuid,
        seq: u64,
        stored: bool,
    },
    /// Messages, oldest first. `complete`: there are no more in the direction asked for.
    Page {
        messages: Vec<Seen>,
        complete: bool,
    },
    /// An edit, a reaction or a deletion. `changed`: there is an event of it. `stored` as of messages.
    Changed {
        changed: bool,
        seq: Option<u64>,
        stored: bool,
    },
    Receipts {
        marks: Vec<Mark>,
    },
    Done,
}

/// How far somebody has got, as it was shown to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub user: Number,
    pub delivered: u64,
    /// Missing: this user shows it to nobody.
    pub read: Option<u64>,
}

/// An event as a client saw it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub conversation: Number,
    pub seq: u64,
    pub body: Body,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}: ", self.seq, self.conversation)?;
        match &self.body {
            // Texts are long and say what the name says.
            Body::Message { id, sender, name, text } => {
                let deleted = if text.is_none() { ", deleted" } else { "" };
                write!(f, "{name} of user {sender} ({id}{deleted})")
            }
            other => write!(f, "{other:?}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// `text` is missing if the message was deleted.
    Message {
        id: Uuid,
        sender: Number,
        name: String,
        text: Option<String>,
    },
    Deleted {
        message_seq: u64,
    },
    /// `text` is missing if the message was deleted.
    Edited {
        message: Uuid,
        sender: Number,
        text: Option<String>,
    },
    /// `emoji` is missing if the message was deleted.
    Reacted {
        message: Uuid,
        sender: Number,
        emoji: Option<String>,
        added: bool,
    },
    Added {
        user: Number,
    },
    Removed {
        user: Number,
    },
    /// Created, renamed or deleted.
    Other,
    Void,
}

/// What was left to do when everything had been healed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// Milliseconds from healing to nothing left; missing: something was left when the time was up.
    pub after_ms: Option<u64>,
    pub pending: u64,
    pub outbox: u64,
    pub dead_letters: u64,
    /// Dead letters that the run itself made.
    pub expected_dead_letters: u64,
    /// Dead letters about one number with two events, which a log that forgot can lead to.
    #[serde(default)]
    pub clashes: u64,
}

/// Of one process, before the faults and after healing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    pub process: String,
    pub before: Usage,
    pub after: Usage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub resident_kib: u64,
    pub handles: u64,
    pub threads: u64,
    /// Of the asynchronous runtime, as `/metrics` says.
    #[serde(default)]
    pub tasks: u64,
    /// To live fan-out, as `/metrics` says.
    #[serde(default)]
    pub subscriptions: u64,
}

/// Reads JSON lines.
pub fn read(text: &str) -> serde_json::Result<Vec<Entry>> {
    text.lines().filter(|line| !line.is_empty()).map(serde_json::from_str).collect()
}
