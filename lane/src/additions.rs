//! What was added lately of things that there may be only so many of: reactions of a message, pins of a conversation.
//!
//! Who wants to add one has counted them in the store and the log, as of some event. What came after that event is known here, so the
//! bound holds exactly, however many add at once and through whichever process.

use std::collections::VecDeque;

use sealpost_schema::{Event, EventBody, MessageId, ReactionHash, Seq};

use crate::{Counted, Room};

/// Kept per lane. Who counted longer ago counts again.
const MAX_RECENT: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addition {
    Pin,
    Reaction(MessageId),
    /// Somebody took this one away: perhaps they were the last who had it.
    Removal(MessageId, ReactionHash),
}

impl Addition {
    pub fn of(body: &EventBody) -> Option<Self> {
        match body {
            EventBody::MessagePinned { .. } => Some(Self::Pin),
            EventBody::ReactionAdded { message_id, .. } => Some(Self::Reaction(*message_id)),
            EventBody::ReactionRemoved { message_id, reaction, .. } => Some(Self::Removal(*message_id, *reaction)),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Additions {
    recent: VecDeque<(Seq, Addition)>,
    /// All that was added after this is among the recent ones.
    complete_after: Seq,
}

impl Additions {
    /// For a lane that begins behind this event.
    pub fn new(head: Seq) -> Self {
        Self { recent: VecDeque::new(), complete_after: head }
    }

    pub fn note(&mut self, event: &Event) {
        let Some(addition) = Addition::of(&event.body) else { return };
        if self.recent.len() >= MAX_RECENT
            && let Some((oldest, _)) = self.recent.pop_front()
        {
            self.complete_after = oldest;
        }
        self.recent.push_back((event.seq, addition));
    }

    /// Whether what was counted still allows this, behind what has a number and what is about to get one.
    pub fn allow<'a>(&self, body: &EventBody, counted: Counted, waiting: impl Iterator<Item = &'a EventBody>) -> bool {
        if counted.as_of < self.complete_after {
            return false;
        }
        let recent = self.recent.iter().filter(|(seq, _)| *seq > counted.as_of).map(|(_, addition)| *addition);
        let since = recent.chain(waiting.filter_map(Addition::of));
        match (counted.room, body) {
            (Room::Shared, EventBody::ReactionAdded { message_id, reaction, .. }) => {
                let removal = Addition::Removal(*message_id, *reaction);
                !since.into_iter().any(|addition| addition == removal)
            }
            (Room::Shared, _) => true,
            (Room::Left(left), body) => {
                let own = Addition::of(body);
                let added = since.filter(|addition| Some(*addition) == own).count();
                u64::try_from(added).is_ok_and(|added| added < u64::from(left))
            }
        }
    }
}
