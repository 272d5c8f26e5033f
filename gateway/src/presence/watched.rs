//! The conversations that somebody here looks at: who takes part in them, and who types.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use sealpost_schema::{ConversationId, UserId};

/// Watched conversations of this process; those beyond it show nobody.
const MAX_CONVERSATIONS: usize = 50_000;
/// Users who are said to type in one conversation.
const MAX_TYPING: usize = 20;
/// Typing that is not said again ends by itself.
const TYPING_LASTS: Duration = Duration::from_secs(6);
/// The count of a large conversation is made anew so often.
const COUNT_LASTS: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Watched {
    conversations: HashMap<ConversationId, Conversation>,
    /// The conversations that name this user.
    by_user: HashMap<UserId, HashSet<ConversationId>>,
}

#[derive(Default)]
struct Conversation {
    participants: Participants,
    /// Until when each user types.
    typing: HashMap<UserId, Instant>,
    /// Those that were told of.
    shown: BTreeSet<UserId>,
}

/// Who takes part, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Participants {
    /// To be loaded.
    #[default]
    Unknown,
    Named(HashSet<UserId>),
    /// Too many to be named; `counted`: when, if at all.
    Many {
        online: u64,
        counted: Option<Instant>,
    },
}

/// Who began and who stopped to type in a conversation.
#[derive(Debug, PartialEq, Eq)]
pub struct TypingChange {
    pub id: ConversationId,
    pub started: Vec<UserId>,
    pub stopped: Vec<UserId>,
}

impl Watched {
    /// Somebody looks. `None`: there are too many. Else who takes part, if that is known.
    pub fn watch(&mut self, id: ConversationId) -> Option<&Participants> {
        if self.conversations.len() >= MAX_CONVERSATIONS && !self.conversations.contains_key(&id) {
            return None;
        }
        Some(&self.conversations.entry(id).or_default().participants)
    }

    /// Nobody looks any more.
    pub fn forget(&mut self, id: ConversationId) {
        self.unname(id);
        self.conversations.remove(&id);
    }

    pub fn all(&self) -> Vec<ConversationId> {
        self.conversations.keys().copied().collect()
    }

    pub fn participants_changed(&mut self, id: ConversationId) {
        if self.conversations.contains_key(&id) {
            self.unname(id);
            if let Some(conversation) = self.conversations.get_mut(&id) {
                conversation.participants = Participants::Unknown;
            }
        }
    }

    /// Conversations whose participants have to be loaded, `max` at most.
    pub fn unknown(&self, max: usize) -> Vec<ConversationId> {
        let unknown = self.conversations.iter().filter(|(_, one)| one.participants == Participants::Unknown);
        unknown.map(|(id, _)| *id).take(max).collect()
    }

    /// A large conversation whose count is old.
    pub fn uncounted(&self, now: Instant) -> Option<ConversationId> {
        let old = |participants: &Participants| {
            let Participants::Many { counted, .. } = participants else { return false };
            counted.is_none_or(|at| now.duration_since(at) > COUNT_LASTS)
        };
        self.conversations.iter().find(|(_, one)| old(&one.participants)).map(|(id, _)| *id)
    }

    pub fn know(&mut self, id: ConversationId, participants: Participants) {
        self.unname(id);
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        if let Participants::Named(users) = &participants {
            for user in users {
                self.by_user.entry(*user).or_default().insert(id);
            }
        }
        conversation.participants = participants;
    }

    pub fn participants(&self, id: ConversationId) -> Option<&Participants> {
        self.conversations.get(&id).map(|conversation| &conversation.participants)
    }

    /// The conversations that show this user by name.
    pub fn naming(&self, user: UserId) -> impl Iterator<Item = ConversationId> {
        self.by_user.get(&user).into_iter().flatten().copied()
    }

    pub fn types(&mut self, id: ConversationId, user: UserId, active: bool, now: Instant) {
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        if !active {
            conversation.typing.remove(&user);
        } else if conversation.typing.len() < MAX_TYPING || conversation.typing.contains_key(&user) {
            conversation.typing.insert(user, now + TYPING_LASTS);
        }
    }

    /// Those who are said to type here.
    pub fn typing(&self, id: ConversationId) -> impl Iterator<Item = UserId> {
        self.conversations.get(&id).into_iter().flat_map(|conversation| conversation.shown.iter().copied())
    }

    /// What is to be told of typing now.
    pub fn typing_changes(&mut self, now: Instant) -> Vec<TypingChange> {
        let mut changes = Vec::new();
        for (id, conversation) in &mut self.conversations {
            if conversation.typing.is_empty() && conversation.shown.is_empty() {
                continue;
            }
            conversation.typing.retain(|_, until| *until > now);
            let typing: BTreeSet<_> = conversation.typing.keys().copied().collect();
            let change = TypingChange {
                id: *id,
                started: typing.difference(&conversation.shown).copied().collect(),
                stopped: conversation.shown.difference(&typing).copied().collect(),
            };
            if !change.started.is_empty() || !change.stopped.is_empty() {
                changes.push(change);
            }
            conversation.shown = typing;
        }
        changes
    }

    fn unname(&mut self, id: ConversationId) {
        let Some(Conversation { participants: Participants::Named(users), .. }) = self.conversations.get(&id) else {
            return;
        };
        for user in users {
            if let Some(naming) = self.by_user.get_mut(user) {
                naming.remove(&id);
                if naming.is_empty() {
                    self.by_user.remove(user);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_where_somebody_looks_and_nowhere_else() {
        let (one, other, ann) = (ConversationId::new(), ConversationId::new(), UserId::new());
        let mut watched = Watched::default();
        watched.know(one, Participants::Named(HashSet::from([ann])));
        assert_eq!(watched.naming(ann).count(), 0, "nobody looks");
        for id in [one, other] {
            assert_eq!(watched.watch(id), Some(&Participants::Unknown));
            watched.know(id, Participants::Named(HashSet::from([ann])));
        }
        assert_eq!(watched.naming(ann).count(), 2);
        watched.participants_changed(one);
        assert_eq!(watched.unknown(10), [one]);
        assert_eq!(watched.naming(ann).collect::<Vec<_>>(), [other]);
        watched.forget(other);
        assert!(watched.by_user.is_empty());
        assert_eq!(watched.all(), [one]);
    }

    #[test]
    fn typing_is_told_once_and_ends_by_itself() {
        let (id, ann, start) = (ConversationId::new(), UserId::new(), Instant::now());
        let mut watched = Watched::default();
        watched.types(id, ann, true, start);
        assert!(watched.typing_changes(start).is_empty(), "nobody looks");
        watched.watch(id);
        watched.types(id, ann, true, start);
        let change = |started: &[UserId], stopped: &[UserId]| {
            vec![TypingChange { id, started: started.to_vec(), stopped: stopped.to_vec() }]
        };
        assert_eq!(watched.typing_changes(start), change(&[ann], &[]));
        assert!(watched.typing_changes(start).is_empty());
        watched.types(id, ann, true, start + Duration::from_secs(4));
        assert!(watched.typing_changes(start + Duration::from_secs(9)).is_empty());
        assert_eq!(watched.typing_changes(start + Duration::from_secs(10)), change(&[], &[ann]));
        // Began and ended between two ticks: nobody needs to know.
        watched.types(id, ann, true, start);
        watched.types(id, ann, false, start);
        assert!(watched.typing_changes(start).is_empty());
    }

    #[test]
    fn in_a_crowd_not_everybody_is_said_to_type() {
        let (id, now) = (ConversationId::new(), Instant::now());
        let mut watched = Watched::default();
        watched.watch(id);
        for _ in 0..100 {
            watched.types(id, UserId::new(), true, now);
        }
        assert_eq!(watched.typing_changes(now)[0].started.len(), MAX_TYPING);
    }
}
