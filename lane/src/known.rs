//! Which client message ids and control events were appended lately: the first guard against doubles.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use sealpost_schema::{ClientMessageId, Event, EventBody, EventId, Seq, Timestamp, UserId};

/// What a repeated draft repeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Message(UserId, ClientMessageId),
    Event(EventId),
}

impl Key {
    fn of(id: EventId, sender: UserId, body: &EventBody) -> Self {
        match body {
            EventBody::MessagePosted { client_message_id, .. } => Self::Message(sender, client_message_id.clone()),
            _ => Self::Event(id),
        }
    }
}

/// Bounded by count and by age, but for what is not stored yet.
#[derive(Debug)]
pub(crate) struct Known {
    seqs: HashMap<Key, Seq>,
    order: VecDeque<(Timestamp, Key)>,
    max: usize,
    keep: Duration,
}

impl Known {
    pub fn new(max: usize, keep: Duration) -> Self {
        Self { seqs: HashMap::new(), order: VecDeque::new(), max, keep }
    }

    /// `is_unstored`: what the store does not have yet nobody else can look up, so its name stays whatever the bounds are. That is bounded, too.
    pub fn insert(&mut self, event: &Event, now: Timestamp, is_unstored: impl Fn(Seq) -> bool) {
        let key = Key::of(event.id, event.sender_id, &event.body);
        if self.seqs.insert(key.clone(), event.seq).is_none() {
            self.order.push_back((now, key));
        }
        while let Some((at, oldest)) = self.order.front() {
            let has_room = self.order.len() <= self.max && at.plus(self.keep) >= now;
            if has_room || self.seqs.get(oldest).is_some_and(|seq| is_unstored(*seq)) {
                break;
            }
            if let Some((_, key)) = self.order.pop_front() {
                self.seqs.remove(&key);
            }
        }
    }

    /// Forgets an event that lost its number.
    pub fn remove(&mut self, event: &Event) {
        self.seqs.remove(&Key::of(event.id, event.sender_id, &event.body));
    }

    /// Forgets what this draft would repeat.
    pub fn forget(&mut self, id: EventId, sender: UserId, body: &EventBody) {
        self.seqs.remove(&Key::of(id, sender, body));
    }

    /// Whether this event, which is no message, was appended lately.
    pub fn has(&self, id: EventId) -> bool {
        self.seqs.contains_key(&Key::Event(id))
    }

    /// The seq of the event that this draft would repeat.
    pub fn find(&self, id: EventId, sender: UserId, body: &EventBody) -> Option<Seq> {
        if self.seqs.is_empty() {
            return None;
        }
        self.seqs.get(&Key::of(id, sender, body)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealpost_schema::ConversationId;

    fn event(seq: u64, client: &str) -> Event {
        Event {
            id: EventId::new(),
            conversation_id: ConversationId::new(),
            seq: Seq(seq),
            sender_id: UserId(uuid_from(1)),
            created_at: Timestamp::default(),
            body: EventBody::MessagePosted {
                client_message_id: ClientMessageId::try_from(client.to_owned()).unwrap(),
                sealed: String::new(),
                links: None,
                expires_at: None,
            },
        }
    }

    fn uuid_from(n: u128) -> sea_orm::prelude::Uuid {
        sea_orm::prelude::Uuid::from_u128(n)
    }

    #[test]
    fn forgets_by_count_and_by_age() {
        let mut known = Known::new(2, Duration::from_secs(10));
        let events = [event(1, "a"), event(2, "b"), event(3, "c")];
        for (second, event) in (0..).zip(&events) {
            known.insert(event, Timestamp::from_millis(second * 1000), |_| false);
        }
        let find = |known: &Known, e: &Event| known.find(EventId::new(), e.sender_id, &e.body);
        assert_eq!(find(&known, &events[0]), None, "the oldest went, by count");
        assert_eq!(find(&known, &events[2]), Some(Seq(3)));
        known.insert(&event(4, "d"), Timestamp::from_millis(12_500), |seq| seq == Seq(2));
        assert_eq!(find(&known, &events[1]), Some(Seq(2)), "not stored yet");
        known.insert(&event(5, "e"), Timestamp::from_millis(22_600), |_| false);
        assert_eq!((find(&known, &events[1]), find(&known, &events[2])), (None, None), "gone by age");
    }
}
