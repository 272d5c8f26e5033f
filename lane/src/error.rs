//! Why a draft did not become an event.

/// Errors of [`Lanes`](crate::Lanes). Unless it is `OutcomeUnknown`, nothing was appended and nothing will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// There is no such conversation, or the sender does not take part in it.
    #[error("no such conversation for this sender")]
    NotFound,
    /// The sender's role does not allow it.
    #[error("the sender's role does not allow this")]
    Forbidden,
    /// The message that was to be changed is deleted.
    #[error("the message is deleted")]
    Deleted,
    /// It was made for settings, or for counts, that have changed since: make it anew, and hand it over again.
    #[error("what the change was decided on has changed")]
    Changed,
    /// The log gave no answer in time: the event may be there now, later or never. Repeat with the same ids.
    #[error("the event log gave no answer in time")]
    OutcomeUnknown,
    /// The log, the store or the lane's queue is not available.
    #[error("not available: {0}")]
    Unavailable(String),
    /// The log will never take this event.
    #[error("refused by the event log: {0}")]
    Refused(String),
    /// What the log or the store holds for this conversation cannot be read.
    #[error("unreadable: {0}")]
    Corrupt(String),
}
