//! Marks that wait to be written.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use sealpost_schema::{ConversationId, Seq, UserId};
use tokio::sync::Notify;

/// Marks that wait at most, each of another participant. What is beyond it is refused, and said again by the client.
const MAX_WAITING: usize = 100_000;

/// What a client said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    Delivered(Seq),
    /// What was read was delivered.
    Read(Seq),
}

/// How far a participant has got; 0: nothing new was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    pub delivered: Seq,
    pub read: Seq,
}

pub type Waiting = HashMap<(UserId, ConversationId), Watermarks>;

#[derive(Default)]
pub struct Marks {
    state: Mutex<State>,
    /// Rings when something waits.
    pub wake: Notify,
    /// Held by whoever takes marks until they are written.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<UserId, HashMap<ConversationId, Watermarks>>,
    count: usize,
    /// Whose marks are being written.
    writing: HashSet<UserId>,
}

/// Marks that were taken. When this is dropped, they are no longer being written.
pub struct Taken<'a> {
    pub marks: Waiting,
    of: &'a Marks,
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.of.lock().writing.clear();
    }
}

impl Watermarks {
    fn rise(&mut self, other: Self) {
        self.delivered = self.delivered.max(other.delivered).max(other.read);
        self.read = self.read.max(other.read);
    }
}

impl From<Reached> for Watermarks {
    fn from(reached: Reached) -> Self {
        match reached {
            Reached::Delivered(seq) => Self { delivered: seq, read: Seq(0) },
            Reached::Read(seq) => Self { delivered: seq, read: seq },
        }
    }
}

impl Marks {
    /// False: too many wait.
    pub fn note(&self, conversation: ConversationId, user: UserId, reached: Reached) -> bool {
        let noted = self.lock().merge(user, conversation, reached.into());
        if noted {
            self.wake.notify_one();
        }
        noted
    }

    /// What could not be written waits again.
    pub fn put_back(&self, marks: &Waiting) {
        let mut state = self.lock();
        for ((user, conversation), mark) in marks {
            state.merge(*user, *conversation, *mark);
        }
    }

    /// All that waits, for writing it.
    pub async fn take(&self) -> Taken<'_> {
        let turn = self.turn.lock().await;
        let mut state = self.lock();
        state.count = 0;
        let waiting = std::mem::take(&mut state.waiting);
        state.writing = waiting.keys().copied().collect();
        let marks = waiting.into_iter().flat_map(|(user, of_user)| {
            of_user.into_iter().map(move |(conversation, mark)| ((user, conversation), mark))
        });
        Taken { marks: marks.collect(), of: self, _turn: turn }
    }

    /// What waits of one user, when nothing of theirs is being written any more. `None`: nothing.
    pub async fn take_of(&self, user: UserId) -> Option<Taken<'_>> {
        {
            let state = self.lock();
            if !state.waiting.contains_key(&user) && !state.writing.contains(&user) {
                return None;
            }
        }
        let turn = self.turn.lock().await;
        let mut state = self.lock();
        let of_user = state.waiting.remove(&user)?;
        state.count -= of_user.len();
        state.writing.insert(user);
        let marks = of_user.into_iter().map(|(conversation, mark)| ((user, conversation), mark));
        Some(Taken { marks: marks.collect(), of: self, _turn: turn })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn merge(&mut self, user: UserId, conversation: ConversationId, mark: Watermarks) -> bool {
        let of_user = self.waiting.get_mut(&user);
        if let Some(known) = of_user.and_then(|of_user| of_user.get_mut(&conversation)) {
            known.rise(mark);
            return true;
        }
        if self.count >= MAX_WAITING {
            return false;
        }
        self.count += 1;
        self.waiting.entry(user).or_default().entry(conversation).or_default().rise(mark);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn marks_of_one_participant_become_one_that_only_rises() {
        let (conversation, ann, bob) = (ConversationId::new(), UserId::new(), UserId::new());
        let marks = Marks::default();
        for reached in [Reached::Delivered(Seq(5)), Reached::Read(Seq(3)), Reached::Delivered(Seq(4))] {
            assert!(marks.note(conversation, ann, reached));
        }
        assert!(marks.note(conversation, bob, Reached::Read(Seq(9))));
        let taken = marks.take().await.marks.clone();
        assert_eq!(taken.len(), 2);
        assert_eq!(taken[&(ann, conversation)], Watermarks { delivered: Seq(5), read: Seq(3) });
        assert_eq!(taken[&(bob, conversation)], Watermarks { delivered: Seq(9), read: Seq(9) });
        assert!(marks.take().await.marks.is_empty());
        // What comes back does not lower what was said since.
        assert!(marks.note(conversation, ann, Reached::Read(Seq(8))));
        marks.put_back(&taken);
        assert_eq!(marks.take().await.marks[&(ann, conversation)], Watermarks { delivered: Seq(8), read: Seq(8) });
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_known_marks_still_rise() {
        let (conversation, first) = (ConversationId::new(), UserId::new());
        let marks = Marks::default();
        assert!(marks.note(conversation, first, Reached::Read(Seq(1))));
        for _ in 1..MAX_WAITING {
            assert!(marks.note(conversation, UserId::new(), Reached::Read(Seq(1))));
        }
        assert!(!marks.note(conversation, UserId::new(), Reached::Read(Seq(1))));
        assert!(marks.note(conversation, first, Reached::Read(Seq(2))));
        assert_eq!(marks.take().await.marks.len(), MAX_WAITING);
        assert!(marks.note(conversation, UserId::new(), Reached::Read(Seq(1))));
    }

    #[tokio::test]
    async fn who_asks_waits_until_their_own_marks_are_written_and_nobody_elses() {
        let (conversation, ann, bob) = (ConversationId::new(), UserId::new(), UserId::new());
        let marks = Marks::default();
        assert!(marks.take_of(ann).await.is_none());
        assert!(marks.note(conversation, ann, Reached::Read(Seq(1))));
        let writing = marks.take().await;
        assert!(marks.take_of(bob).await.is_none(), "nothing of his waits");
        let asks = marks.take_of(ann);
        tokio::pin!(asks);
        assert!(futures_util::poll!(&mut asks).is_pending());
        drop(writing);
        assert!(asks.await.is_none(), "it is written");
        assert!(marks.note(conversation, ann, Reached::Read(Seq(2))));
        assert_eq!(marks.take_of(ann).await.map(|taken| taken.marks.len()), Some(1));
        assert!(marks.take().await.marks.is_empty());
    }
}
