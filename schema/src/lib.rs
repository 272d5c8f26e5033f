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
mod notice;
mod problem;
mod rights;
mod role;
mod signal;

pub use clock::{Clock, Timestamp};
pub use event::{
    Event, EventBody, EventRecord, MessageLinks, NamedRole, RecordError, RecordHead, RecordOutline, chat_subject,
    live_subject, redact,
};
pub use frames::{AckLevel, ClientFrame, CloseCode, ConversationHead, Cursor, ServerFrame, UserPresence};
pub use ids::{ClientMessageId, ConversationId, EventId, IdError, MessageId, ReactionHash, Seq, SessionId, UserId};
pub use notice::{ControlNotice, DraftNotice, StoredNotice, StoredRange, VoidedEvent};
pub use problem::{Problem, ProblemKind};
pub use rights::{Action, LeastRole, Rights, RightsChange};
pub use role::{ConversationKind, Role};
pub use signal::{Audience, Mark, Presence, PresenceNotice, Signal, SignalBody};
