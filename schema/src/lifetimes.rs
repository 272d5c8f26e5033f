//! How long what is said in a conversation stays.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of one conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Lifetimes {
    /// Messages sent from now on disappear so many seconds after they were sent; `null`: they stay.
    #[serde(default)]
    pub disappear_after_seconds: Option<u32>,
    /// Messages that are so many days old are destroyed, whenever they were sent; `null`: when the server says.
    #[serde(default)]
    pub retention_days: Option<u32>,
}

impl Lifetimes {
    /// Five seconds to a year.
    pub const DISAPPEAR_AFTER_SECONDS: RangeInclusive<u32> = 5..=366 * 86_400;

    /// A day to a hundred years.
    pub const RETENTION_DAYS: RangeInclusive<u32> = 1..=36_500;

    /// For so long the messages that disappear after this time are sealed under one key. The key goes when the last of them has disappeared:
    /// so that of the first one lives for so much longer than the message.
    pub fn key_period(disappear_after_seconds: u32) -> Duration {
        Duration::from_secs(u64::from(disappear_after_seconds / 4).clamp(10, 86_400))
    }
}
