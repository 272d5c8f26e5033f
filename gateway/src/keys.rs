//! Conversation keys: made, wrapped, unwrapped, and kept in memory while they are used. The only place that seals and opens.
//!
//! What stays is sealed under the conversation's lasting key. Messages that disappear are sealed under keys of their own, a new one for each
//! [`Lifetimes::key_period`], and a scheduled message under a key of its own, since it may be one of those. Such a key goes from the store
//! when the last of what it seals has disappeared (`workers/src/timers/expiry.rs`), and from the memory of gateways at the same moment: from then
//! on nobody can open copies of the envelopes either, wherever they are.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, IntoActiveModel as _, QueryFilter,
    QueryOrder, QuerySelect as _, SqlErr,
};
use sealpost_schema::entities::conversation_key::{self, DISAPPEARING, LASTING, SINGLE};
use sealpost_schema::{Clock, ConversationId, Event, EventBody, EventId, Lifetimes, MessageId, Timestamp, UserId};
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
    /// Others make keys of this conversation all the time.
    #[error("no new key could be made")]
    Contended,
}

/// Whether a message disappears will only be known when it is sent: so long its key is taken as it is in the store.
const SINGLE_KEPT: Duration = Duration::from_mins(1);
/// Two gateways that make a key at the same moment want the same generation: one of them tries again.
const MAX_ATTEMPTS: u32 = 8;

struct Kept {
    key: Arc<ConversationKey>,
    /// Dropped then.
    until: Option<Timestamp>,
}

/// The key that messages are sealed under which disappear after this time.
#[derive(Clone, Copy)]
struct Disappearing {
    after: u32,
    seals_until: Timestamp,
    generation: u32,
}

#[derive(Default)]
struct Cache {
    keys: HashMap<(ConversationId, u32), Kept>,
    /// Lasting ones.
    newest: HashMap<ConversationId, u32>,
    disappearing: HashMap<ConversationId, Disappearing>,
    order: VecDeque<(ConversationId, u32)>,
    /// Keys that do not exist or do not unwrap: asked for once, then known.
    unusable: HashSet<(ConversationId, u32)>,
    max: usize,
    /// Some have an end.
    has_ends: bool,
}

impl Cache {
    fn insert(&mut self, conversation: ConversationId, generation: u32, kept: Kept) {
        self.has_ends |= kept.until.is_some();
        if self.keys.insert((conversation, generation), kept).is_none() {
            self.order.push_back((conversation, generation));
        }
        while self.order.len() > self.max {
            if let Some(old) = self.order.pop_front() {
                self.keys.remove(&old);
                self.newest.remove(&old.0);
                self.disappearing.remove(&old.0);
            }
        }
    }

    fn get(&self, conversation: ConversationId, generation: u32, now: Timestamp) -> Option<&Arc<ConversationKey>> {
        let kept = self.keys.get(&(conversation, generation))?;
        kept.until.is_none_or(|until| now < until).then_some(&kept.key)
    }
}

fn open_with(key: &ConversationKey, event: EventId, sender: UserId, sealed: &str) -> Result<String, KeyError> {
    let binding = Binding { conversation: key.conversation(), message: event.0, sender: sender.0 };
    let text = key.open(&binding, sealed).map_err(KeyError::Open)?;
    std::str::from_utf8(&text).map(str::to_owned).map_err(|_| KeyError::NotText)
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
        let (key, row) = self.generate(conversation, 1);
        conversation_key::Entity::insert(row.into_active_model()).exec_without_returning(db).await?;
        Ok(Arc::new(key))
    }

    /// A new lasting key, and its row.
    fn generate(&self, conversation: ConversationId, generation: u32) -> (ConversationKey, conversation_key::Model) {
        let key = ConversationKey::generate(conversation.0, generation, Suite::default());
        let now = self.clock.now();
        let row = conversation_key::Model {
            conversation_id: conversation.0,
            generation: i32::try_from(generation).unwrap_or(i32::MAX),
            wrapped: self.ring.wrap(&key, now.unix_seconds()),
            created_at: now.millis(),
            purpose: LASTING.to_owned(),
            disappear_after: None,
            seals_until: None,
            expires_at: None,
        };
        (key, row)
    }

    /// The key that new content is sealed under which stays.
    pub async fn newest(&self, conversation: ConversationId) -> Result<Arc<ConversationKey>, KeyError> {
        {
            let cache = self.lock();
            let newest = cache.newest.get(&conversation);
            if let Some(key) = newest.and_then(|generation| cache.get(conversation, *generation, self.clock.now())) {
                return Ok(Arc::clone(key));
            }
        }
        let row = conversation_key::Entity::find()
            .filter(conversation_key::Column::ConversationId.eq(conversation.0))
            .filter(conversation_key::Column::Purpose.eq(LASTING))
            .order_by_desc(conversation_key::Column::Generation)
            .one(&self.db)
            .await
            .map_err(KeyError::Store)?
            .ok_or(KeyError::Missing)?;
        let (generation, kept) = self.unwrap(conversation, &row)?;
        let key = Arc::clone(&kept.key);
        let mut cache = self.lock();
        cache.insert(conversation, generation, kept);
        cache.newest.insert(conversation, generation);
        Ok(key)
    }

    /// The key that a message is sealed under which is sent at `now` and disappears `after` so many seconds.
    pub async fn disappearing(
        &self,
        conversation: ConversationId,
        after: u32,
        now: Timestamp,
    ) -> Result<Arc<ConversationKey>, KeyError> {
        {
            let cache = self.lock();
            let fits = |current: &&Disappearing| current.after == after && now < current.seals_until;
            if let Some(current) = cache.disappearing.get(&conversation).filter(fits)
                && let Some(key) = cache.get(conversation, current.generation, now)
            {
                return Ok(Arc::clone(key));
            }
        }
        for _ in 0..MAX_ATTEMPTS {
            // Another gateway may have made it.
            let found = conversation_key::Entity::find()
                .filter(conversation_key::Column::ConversationId.eq(conversation.0))
                .filter(conversation_key::Column::Purpose.eq(DISAPPEARING))
                .filter(conversation_key::Column::DisappearAfter.eq(i64::from(after)))
                .filter(conversation_key::Column::SealsUntil.gt(now.millis()))
                .order_by_desc(conversation_key::Column::Generation)
                .one(&self.db)
                .await
                .map_err(KeyError::Store)?;
            let seals_until = now.plus(Lifetimes::key_period(after));
            let expires_at = seals_until.plus(Duration::from_secs(after.into()));
            let made = if found.is_some() {
                found
            } else {
                let change = |row: &mut conversation_key::Model| {
                    DISAPPEARING.clone_into(&mut row.purpose);
                    row.disappear_after = i32::try_from(after).ok();
                    row.seals_until = Some(seals_until.millis());
                    row.expires_at = Some(expires_at.millis());
                };
                self.add(conversation, change).await?
            };
            let Some(row) = made else { continue };
            let (generation, kept) = self.unwrap(conversation, &row)?;
            let key = Arc::clone(&kept.key);
            let seals_until = Timestamp::from_millis(row.seals_until.unwrap_or(0));
            let mut cache = self.lock();
            cache.insert(conversation, generation, kept);
            cache.disappearing.insert(conversation, Disappearing { after, seals_until, generation });
            return Ok(key);
        }
        Err(KeyError::Contended)
    }

    /// A new key for one message that is to be sent later.
    pub async fn single(&self, conversation: ConversationId) -> Result<Arc<ConversationKey>, KeyError> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(row) = self.add(conversation, |row| SINGLE.clone_into(&mut row.purpose)).await? {
                return Ok(self.unwrap(conversation, &row)?.1.key);
            }
        }
        Err(KeyError::Contended)
    }

    /// Stores a key of the next generation. `None`: another one was first. A conversation that has no keys gets none.
    async fn add(
        &self,
        conversation: ConversationId,
        change: impl FnOnce(&mut conversation_key::Model),
    ) -> Result<Option<conversation_key::Model>, KeyError> {
        let highest: Option<Option<i32>> = conversation_key::Entity::find()
            .select_only()
            .column_as(conversation_key::Column::Generation.max(), "highest")
            .filter(conversation_key::Column::ConversationId.eq(conversation.0))
            .into_tuple()
            .one(&self.db)
            .await
            .map_err(KeyError::Store)?;
        let highest = highest.flatten().and_then(|highest| u32::try_from(highest).ok()).ok_or(KeyError::Missing)?;
        let (_, mut row) = self.generate(conversation, highest + 1);
        change(&mut row);
        let inserted = conversation_key::Entity::insert(row.clone().into_active_model());
        match inserted.exec_without_returning(&self.db).await {
            Ok(_) => Ok(Some(row)),
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => Ok(None),
            Err(error) => Err(KeyError::Store(error)),
        }
    }

    /// The key that this envelope was sealed under.
    pub async fn of_envelope(
        &self,
        conversation: ConversationId,
        sealed: &str,
    ) -> Result<Arc<ConversationKey>, KeyError> {
        self.load(conversation, Envelope::parse(sealed).map_err(KeyError::Open)?.generation).await
    }

    /// The key of this generation.
    pub async fn of_generation(
        &self,
        conversation: ConversationId,
        generation: i32,
    ) -> Result<Arc<ConversationKey>, KeyError> {
        self.load(conversation, u32::try_from(generation).map_err(|_| KeyError::Missing)?).await
    }

    /// Whether the event's message has disappeared.
    pub fn is_expired(&self, event: &Event) -> bool {
        event.body.expires_at().is_some() && event.is_expired(self.clock.now())
    }

    /// Drops keys whose time has come. Nobody is given them after that anyway; this wipes them.
    pub fn drop_expired(&self) {
        let now = self.clock.now();
        let mut cache = self.lock();
        if !cache.has_ends {
            return;
        }
        let (mut dropped, mut has_ends) = (HashSet::new(), false);
        cache.keys.retain(|place, kept| {
            let keep = kept.until.is_none_or(|until| now < until);
            has_ends |= keep && kept.until.is_some();
            if !keep {
                dropped.insert(*place);
            }
            keep
        });
        cache.has_ends = has_ends;
        if !dropped.is_empty() {
            cache.order.retain(|place| !dropped.contains(place));
        }
        cache.disappearing.retain(|_, current| now < current.seals_until);
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
        Ok(self.load(conversation, 1).await?.hash_key(purpose))
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
            match cache.get(conversation, generation, self.clock.now()) {
                Some(key) => Arc::clone(key),
                None if cache.unusable.contains(&(conversation, generation)) => return Some(Err(KeyError::Missing)),
                None => return None,
            }
        };
        Some(open_with(&key, event, sender, sealed))
    }

    /// Opens, and loads the key if needed.
    pub async fn open(
        &self,
        conversation: ConversationId,
        event: EventId,
        sender: UserId,
        sealed: &str,
    ) -> Result<String, KeyError> {
        open_with(&*self.of_envelope(conversation, sealed).await?, event, sender, sealed)
    }

    /// Brings the key of an envelope into memory.
    pub async fn prepare(&self, conversation: ConversationId, sealed: &str) -> Result<(), KeyError> {
        self.of_envelope(conversation, sealed).await.map(|_| ())
    }

    async fn load(&self, conversation: ConversationId, generation: u32) -> Result<Arc<ConversationKey>, KeyError> {
        if let Some(key) = self.lock().get(conversation, generation, self.clock.now()) {
            return Ok(Arc::clone(key));
        }
        let row = conversation_key::Entity::find_by_id((conversation.0, i32::try_from(generation).unwrap_or(i32::MAX)))
            .one(&self.db)
            .await
            .map_err(KeyError::Store)?;
        let unwrapped = row.ok_or(KeyError::Missing).and_then(|row| self.unwrap(conversation, &row));
        let mut cache = self.lock();
        match unwrapped {
            Ok((generation, kept)) => {
                let key = Arc::clone(&kept.key);
                cache.insert(conversation, generation, kept);
                Ok(key)
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
            .filter(conversation_key::Column::Purpose.eq(LASTING))
            .order_by_asc(conversation_key::Column::Generation)
            .all(&self.db)
            .await
            .map_err(KeyError::Store)?;
        for row in rows {
            let conversation = ConversationId(row.conversation_id);
            match self.unwrap(conversation, &row) {
                Ok((generation, kept)) => {
                    let mut cache = self.lock();
                    cache.insert(conversation, generation, kept);
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
        cache.disappearing.remove(&conversation);
        cache.unusable.retain(|(id, _)| *id != conversation);
        cache.keys.retain(|(id, _), _| *id != conversation);
        cache.order.retain(|(id, _)| *id != conversation);
    }

    fn unwrap(&self, conversation: ConversationId, row: &conversation_key::Model) -> Result<(u32, Kept), KeyError> {
        let generation = u32::try_from(row.generation).map_err(|_| KeyError::Missing)?;
        let now = self.clock.now();
        let expires_at = row.expires_at.map(Timestamp::from_millis);
        if expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(KeyError::Missing);
        }
        let key = self.ring.unwrap(&row.wrapped, conversation.0, generation).map_err(KeyError::Unwrap)?;
        let until = if row.purpose == SINGLE {
            let looked_at_again = now.plus(SINGLE_KEPT);
            Some(expires_at.map_or(looked_at_again, |expires_at| expires_at.min(looked_at_again)))
        } else {
            expires_at
        };
        Ok((generation, Kept { key: Arc::new(key), until }))
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
