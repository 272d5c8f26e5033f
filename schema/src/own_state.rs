//! What a user keeps about a conversation for themselves: their devices share it, and nobody else learns of it.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OwnState {
    /// No notifications until then.
    pub muted_until: Option<Timestamp>,
    pub archived: bool,
    /// Not in lists, until the next message.
    pub hidden: bool,
}
