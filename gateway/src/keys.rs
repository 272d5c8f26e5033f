//! Conversation keys: made, wrapped, unwrapped, and kept in memory while they are used. The only place that seals and opens.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder,
};
use sealpost_schema::entities::conversation_key;
use sealpost_schema::{Clock, ConversationId, Event, EventBody, EventId, MessageId, UserId};
use sealpost_sealing::{Binding, ConversationKey, Envelope, HashKey, KeyRing, OpenError, SealError, Suite};
use zeroize::Zeroizing;

/// Opens and seals for this process.
pub struct ConversationKeys {
    ring: KeyRing,
    db: DatabaseConnection,
    clock: Clock,
    cache: Mutex<Cache>,
    fresh: Mutex<Fresh>,
}

/// Texts that were sealed here a moment ago and are about to be shown to connections here: opening them again would cost as much
/// as all the rest of showing them. Each is taken once.
#[derive(Default)]
struct Fresh {
    /// With the message that each is a text of.
    texts: HashMap<EventId, (MessageId, String)>,
    order: VecDeque<EventId>,
}

/// Texts kept so; the oldest goes.
const MAX_FRESH: usize = 2048;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key: the conversation does not exist, or its keys were destroyed.
    #[error("the conversation has no key")]
    Missing,
    #[error("the store did not give the key: {0}")]
    Store(DbErr),
    #[error("the key does not unwrap: is its master key in FERNET_KEYS? ({0})")]
    Unwrap(OpenError),
    #[error("sealing failed: {0}")]
    Seal(SealError),
    #[error("opening failed: {0}")]
    Open(OpenError),
    #[error("the opened text is not UTF-8")]
    NotText,
}

#[derive(Default)]
struct Cache {
    keys: HashMap<(ConversationId, u32), Arc<ConversationKey>>,
    newest: HashMap<ConversationId, u32>,
    order: VecDeque<(ConversationId, u32)>,
    /// Keys that do not exist or do not unwrap: asked for once, then known.
    unusable: HashSet<(ConversationId, u32)>,
    max: usize,
}

impl Cache {
    fn insert(&mut self, conversation: ConversationId, generation: u32, key: Arc<ConversationKey>) {
        if self.keys.insert((conversation, generation), key).is_none() {
            self.order.push_back((conversation, generation));
        }
        while self.order.len() > self.max {
            if let Some(old) = self.order.pop_front() {
                self.keys.remove(&old);
                self.newest.remove(&old.0);
            }
        }
    }
}

/// A user's own secrets are bound to the user in every place of a binding: no event has such a one.
fn of_user(user: UserId) -> Binding {
    Binding { conversation: user.0, message: user.0, sender: user.0 }
}

impl ConversationKeys {
    pub fn new(ring: KeyRing, db: DatabaseConnection, clock: Clock, max_cached: usize) -> Self {
        Self {
            ring,
            db,
            clock,
            cache: Mutex::new(Cache { max: max_cached, ..Cache::default() }),
            fresh: Mutex::default(),
        }
    }

    /// Makes the first key of a conversation, within the transaction that makes the conversation.
    pub async fn create(
        &self,
        db: &impl ConnectionTrait,
        conversation: ConversationId,
    ) -> Result<Arc<ConversationKey>, DbErr> {
        let key = ConversationKey::generate(conversation.0, 1, Suite::default());
        let now = self.clock.now();
        let row = conversation_key::ActiveModel {
            conversation_id: Set(conversation.0),
            generation: Set(1),
            wrapped: Set(self.ring.wrap(&key, now.unix_seconds())),
            created_at: Set(now.millis()),
        };
        conversation_key::Entity::insert(row).exec_without_returning(db).await?;
        Ok(Arc::new(key))
    }

    /// The key that new content is sealed under.
    pub async fn newest(&self, conversation: ConversationId) -> Result<Arc<ConversationKey>, KeyError> {
        {
            let cache = self.lock();
            let newest = cache.newest.get(&conversation);
            if let Some(key) = newest.and_then(|generation| cache.keys.get(&(conversation, *generation))) {
                return Ok(Arc::clone(key));
            }
        }
        let row = conversation_key::Entity::find()
            .filter(conversation_key::Column::ConversationId.eq(conversation.0))
            .order_by_desc(conversation_key::Column::Generation)
            .one(&self.db)
            .await
            .map_err(KeyError::Store)?
            .ok_or(KeyError::Missing)?;
        let (generation, key) = self.unwrap(conversation, &row)?;
        let mut cache = self.lock();
        cache.insert(conversation, generation, Arc::clone(&key));
        cache.newest.insert(conversation, generation);
        Ok(key)
    }

    /// Seals a text of an event that `sender` makes under id `event`.
    pub fn seal(&self, key: &ConversationKey, event: EventId, sender: UserId, text: &str) -> Result<String, KeyError> {
        let binding = Binding { conversation: key.conversation(), message: event.0, sender: sender.0 };
        key.seal(&binding, text.as_bytes(), self.clock.now().unix_seconds()).map_err(KeyError::Seal)
    }

    /// Seals a secret of a user under a key of its own, which the master keys wrap: both are stored. It opens for this user only.
    pub fn seal_for_user(&self, user: UserId, secret: &[u8]) -> Result<(String, String), KeyError> {
        let (key, now) = (ConversationKey::generate(user.0, 1, Suite::default()), self.clock.now().unix_seconds());
        let sealed = key.seal(&of_user(user), secret, now).map_err(KeyError::Seal)?;
        Ok((self.ring.wrap(&key, now), sealed))
    }

    /// What [`seal_for_user`](Self::seal_for_user) sealed.
    pub fn open_for_user(&self, user: UserId, wrapped: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let key = self.ring.unwrap(wrapped, user.0, 1).map_err(KeyError::Unwrap)?;
        key.open(&of_user(user), sealed).map_err(KeyError::Open)
    }

    /// Remembers the text of an event that is about to be shown, and which message it is of.
    pub fn remember(&self, event: EventId, message: MessageId, text: String) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.texts.insert(event, (message, text));
        fresh.order.push_back(event);
        while fresh.order.len() > MAX_FRESH {
            if let Some(oldest) = fresh.order.pop_front() {
                fresh.texts.remove(&oldest);
            }
        }
    }

    /// The text of an event that was sealed here a moment ago, once.
    pub fn recall(&self, event: EventId) -> Option<String> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).texts.remove(&event).map(|(_, text)| text)
    }

    /// Forgets the texts of a message that was deleted.
    pub fn forget_texts(&self, message: MessageId) {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).texts.retain(|_, (of, _)| *of != message);
    }

    /// The key that hashes values of this conversation for a purpose: always of the first generation, so that they stay comparable.
    pub async fn hash_key(&self, conversation: ConversationId, purpose: &str) -> Result<HashKey, KeyError> {
        self.load(conversation, 1).await?;
        let key = self.lock().keys.get(&(conversation, 1)).cloned().ok_or(KeyError::Missing)?;
        Ok(key.hash_key(purpose))
    }

    /// Opens with a key from memory; `None` if it is not there (then [`prepare`](Self::prepare) and try again).
    pub fn open_cached(
        &self,
        conversation: ConversationId,
        event: EventId,
        sender: UserId,
        sealed: &str,
    ) -> Option<Result<String, KeyError>> {
        let generation = match Envelope::parse(sealed) {
            Ok(envelope) => envelope.generation,
            Err(error) => return Some(Err(KeyError::Open(error))),
        };
        let key = {
            let cache = self.lock();
            match cache.keys.get(&(conversation, generation)) {
                Some(key) => Arc::clone(key),
                None if cache.unusable.contains(&(conversation, generation)) => return Some(Err(KeyError::Missing)),
                None => return None,
            }
        };
        let binding = Binding { conversation: conversation.0, message: event.0, sender: sender.0 };
        let opened = key.open(&binding, sealed).map_err(KeyError::Open);
        Some(opened.and_then(|text| std::str::from_utf8(&text).map(str::to_owned).map_err(|_| KeyError::NotText)))
    }

    /// Opens, and loads the key if needed.
    pub async fn open(
        &self,
        conversation: ConversationId,
        event: EventId,
        sender: UserId,
        sealed: &str,
    ) -> Result<String, KeyError> {
        self.prepare(conversation, sealed).await?;
        self.open_cached(conversation, event, sender, sealed).unwrap_or(Err(KeyError::Missing))
    }

    /// Brings the key of an envelope into memory.
    pub async fn prepare(&self, conversation: ConversationId, sealed: &str) -> Result<(), KeyError> {
        self.load(conversation, Envelope::parse(sealed).map_err(KeyError::Open)?.generation).await
    }

    async fn load(&self, conversation: ConversationId, generation: u32) -> Result<(), KeyError> {
        if self.lock().keys.contains_key(&(conversation, generation)) {
            return Ok(());
        }
        let row = conversation_key::Entity::find_by_id((conversation.0, i32::try_from(generation).unwrap_or(i32::MAX)))
            .one(&self.db)
            .await
            .map_err(KeyError::Store)?;
        let unwrapped = row.ok_or(KeyError::Missing).and_then(|row| self.unwrap(conversation, &row));
        let mut cache = self.lock();
        match unwrapped {
            Ok((generation, key)) => {
                cache.insert(conversation, generation, key);
                Ok(())
            }
            Err(error) => {
                if cache.unusable.len() >= cache.max {
                    cache.unusable.clear();
                }
                cache.unusable.insert((conversation, generation));
                Err(error)
            }
        }
    }

    /// Brings the keys of several conversations into memory with one query, for a page that shows many.
    pub async fn prepare_all(&self, conversations: &[ConversationId]) -> Result<(), KeyError> {
        let missing: Vec<_> = {
            let cache = self.lock();
            conversations.iter().filter(|id| !cache.newest.contains_key(id)).map(|id| id.0).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let rows = conversation_key::Entity::find()
            .filter(conversation_key::Column::ConversationId.is_in(missing))
            .order_by_asc(conversation_key::Column::Generation)
            .all(&self.db)
            .await
            .map_err(KeyError::Store)?;
        for row in rows {
            let conversation = ConversationId(row.conversation_id);
            match self.unwrap(conversation, &row) {
                Ok((generation, key)) => {
                    let mut cache = self.lock();
                    cache.insert(conversation, generation, key);
                    cache.newest.insert(conversation, generation);
                }
                Err(error) => tracing::error!(%conversation, %error, "a conversation key is unusable"),
            }
        }
        Ok(())
    }

    /// Forgets the keys of a conversation that was deleted.
    pub fn forget(&self, conversation: ConversationId) {
        let mut cache = self.lock();
        cache.newest.remove(&conversation);
        cache.unusable.retain(|(id, _)| *id != conversation);
        cache.keys.retain(|(id, _), _| *id != conversation);
        cache.order.retain(|(id, _)| *id != conversation);
    }

    fn unwrap(
        &self,
        conversation: ConversationId,
        row: &conversation_key::Model,
    ) -> Result<(u32, Arc<ConversationKey>), KeyError> {
        let generation = u32::try_from(row.generation).map_err(|_| KeyError::Missing)?;
        let key = self.ring.unwrap(&row.wrapped, conversation.0, generation).map_err(KeyError::Unwrap)?;
        Ok((generation, Arc::new(key)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The envelope that an event carries, if it carries one that is not empty.
pub fn sealed_of(event: &Event) -> Option<&str> {
    let sealed = match &event.body {
        EventBody::ConversationChanged { sealed_title } => sealed_title.as_deref()?,
        other => other.content()?,
    };
    (!sealed.is_empty()).then_some(sealed)
}
