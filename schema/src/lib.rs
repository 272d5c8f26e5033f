//! The words that all parts of Sealpost share: ids, events, frames, problems, notices, and the database entities.
//!
//! What crosses a process border (the event log, live fan-out, WebSocket, REST) has its type here, and a golden file under
//! `tests/golden/` for every released version of it. With the feature `entities` come the SeaORM entities and their scoped
//! finders; clients leave that out.

mod clock;
#[cfg(feature = "entities")]
pub mod entities;
mod event;
mod frames;
mod ids;
mod lifetimes;
mod notice;
mod own_state;
mod problem;
mod public_frames;
mod rights;
mod role;
mod scheduled;
mod signal;

pub use clock::{Clock, Timestamp};
pub use event::{
    Event, EventBody, EventRecord, MessageLinks, NamedRole, RecordError, RecordHead, RecordOutline, chat_subject,
    live_subject, redact,
};
pub use frames::{
    AckLevel, ClientFrame, CloseCode, ConversationHead, Cursor, LastEvents, LastMessage, ServerFrame, UserPresence,
};
pub use ids::{ClientMessageId, ConversationId, EventId, IdError, MessageId, ReactionHash, Seq, SessionId, UserId};
pub use lifetimes::Lifetimes;
pub use notice::{
    ControlNotice, DraftNotice, ScheduledNotice, StoredNotice, StoredRange, TIMERS_SUBJECT, VoidedEvent, WebhookNotice,
};
pub use own_state::OwnState;
pub use problem::{Problem, ProblemKind};
pub use public_frames::{PublicClientFrame, PublicServerFrame};
pub use rights::{Action, HistoryVisibility, LeastRole, PublicSettings, Rights, RightsChange};
pub use role::{ConversationKind, Role};
pub use scheduled::{ScheduledFailure, ScheduledState};
pub use signal::{Audience, Mark, Presence, PresenceNotice, Signal, SignalBody};
