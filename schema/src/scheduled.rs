//! Messages that are to be sent at a time: how they stand.

use serde::{Deserialize, Serialize};

/// How a scheduled message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduledState {
    /// It can be changed and cancelled.
    Waiting,
    /// Its time has come: it can be changed no more.
    Sending,
    /// It is a message now. Told, never listed.
    Sent,
    /// It was refused when its time came. Give it another time, or delete it.
    Failed,
    /// Told, never listed.
    Cancelled,
}

/// Why a scheduled message was refused when its time came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduledFailure {
    /// You do not take part any more, or the conversation was deleted.
    NotAParticipant,
    /// Your role may not post, or not mention everybody.
    Forbidden,
    /// The account is disabled.
    AccountDisabled,
    /// Another message of yours has the client message id.
    ClientMessageIdReused,
    /// The event log does not take it.
    Refused,
}

impl ScheduledState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Waiting, Self::Sending, Self::Sent, Self::Failed, Self::Cancelled];
        all.into_iter().find(|state| state.as_str() == text)
    }
}

impl ScheduledFailure {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAParticipant => "not_a_participant",
            Self::Forbidden => "forbidden",
            Self::AccountDisabled => "account_disabled",
            Self::ClientMessageIdReused => "client_message_id_reused",
            Self::Refused => "refused",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let all =
            [Self::NotAParticipant, Self::Forbidden, Self::AccountDisabled, Self::ClientMessageIdReused, Self::Refused];
        all.into_iter().find(|failure| failure.as_str() == text)
    }
}
