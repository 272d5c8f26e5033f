//! The bounded queue behind a [`LiveSubscription`](crate::LiveSubscription), shared by both back ends.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::{LiveItem, LiveMessage};

/// The sending side. Its last slot is kept for [`LiveItem::Lost`], so that the notice never has to wait for room and a
/// subscriber that drains a queue which had overflowed always finds it.
#[derive(Debug)]
pub(crate) struct LiveQueue {
    sender: mpsc::Sender<LiveItem>,
    /// Whether the newest item of the queue is `Lost`; the lock makes «look at the room, then send» one step.
    overflowed: Mutex<bool>,
}

impl LiveQueue {
    /// A queue for `room` messages (at least one).
    pub(crate) fn new(room: usize) -> (Self, mpsc::Receiver<LiveItem>) {
        let (sender, receiver) = mpsc::channel(room.max(1) + 1);
        (Self { sender, overflowed: Mutex::new(false) }, receiver)
    }

    /// Queues the message, or notes the loss. Never waits.
    pub(crate) fn push(&self, message: LiveMessage) {
        let mut overflowed = self.overflowed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.sender.capacity() > 1 {
            *overflowed = false;
            // Only a receiver that went away can refuse now: then nobody is left to tell.
            let _ = self.sender.try_send(LiveItem::Message(message));
        } else {
            self.note_loss(&mut overflowed);
        }
    }

    /// Says that messages may be missing here.
    pub(crate) fn lost(&self) {
        let mut overflowed = self.overflowed.lock().unwrap_or_else(PoisonError::into_inner);
        self.note_loss(&mut overflowed);
    }

    fn note_loss(&self, overflowed: &mut bool) {
        // With room for messages, an earlier notice may have been read already, so a new one is due.
        if !*overflowed || self.sender.capacity() > 1 {
            let _ = self.sender.try_send(LiveItem::Lost);
            *overflowed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Subject;

    fn message(n: u8) -> LiveMessage {
        LiveMessage { subject: Subject::new("live.a").unwrap(), payload: vec![n].into() }
    }

    fn drain(receiver: &mut mpsc::Receiver<LiveItem>) -> String {
        let mut seen = String::new();
        while let Ok(item) = receiver.try_recv() {
            match item {
                LiveItem::Message(m) => seen.push(char::from(b'0' + m.payload[0])),
                LiveItem::Lost => seen.push('L'),
            }
        }
        seen
    }

    #[test]
    fn one_notice_stands_where_messages_were_dropped() {
        let (queue, mut receiver) = LiveQueue::new(2);
        for n in 1..=5 {
            queue.push(message(n));
        }
        assert_eq!(drain(&mut receiver), "12L");
        queue.push(message(6));
        assert_eq!(drain(&mut receiver), "6");
        queue.lost();
        assert_eq!(drain(&mut receiver), "L");
    }
}
