//! Control changes that are decided (their rows stand in the store's outbox) and are not stored as events yet.
//!
//! A change is decided in a database transaction, by one gateway, and becomes an event later: through that gateway's lane, or through any
//! other process if that gateway or the event log is away. So whoever appends a change first appends those of its conversation that were
//! decided before it ([`Lanes::append_decided`]), and a lane that opens begins with what is decided: the participants that it loads are
//! those after all of it. `tests/lane/decided.rs` and the simulation (`torture/tests/simulation`) hold this.

use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use sealpost_schema::entities::outbox;
use sealpost_schema::{ConversationId, EventId, Timestamp, UserId};

use crate::reader::{Reader, store_error};
use crate::{Appended, Draft, LaneError, Lanes, Rule};

/// Changes of one conversation that are looked at; what is beyond waits for the outbox worker.
const MAX_DECIDED: u64 = 1000;

impl Draft {
    /// The event that a row of the outbox is to become.
    ///
    /// # Errors
    /// The body cannot be read.
    pub fn decided(row: &outbox::Model) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: EventId(row.id),
            sender_id: UserId(row.sender_id),
            created_at: Timestamp::from_millis(row.created_at),
            body: serde_json::from_str(&row.body)?,
            rule: Rule::Control,
            retry: true,
        })
    }
}

impl Reader {
    /// Decided changes of a conversation, oldest first. Those that cannot be read are left out: they never will be, and what comes
    /// after them may be somebody's removal.
    pub(crate) async fn decided(&self, conversation: ConversationId) -> Result<Vec<Draft>, DbErr> {
        let rows = outbox::Entity::find()
            .filter(outbox::Column::ConversationId.eq(conversation.0))
            .order_by_asc(outbox::Column::CreatedAt)
            .order_by_asc(outbox::Column::Id)
            .limit(MAX_DECIDED)
            .all(&self.db)
            .await?;
        let draft = |row: &outbox::Model| match Draft::decided(row) {
            Ok(draft) => Some(draft),
            Err(error) => {
                tracing::error!(outbox = %row.id, %error, "a row of the outbox cannot be read and stays there");
                None
            }
        };
        Ok(rows.iter().filter_map(draft).collect())
    }
}

impl Lanes {
    /// Appends a change that is in the outbox, after those of its conversation that were decided before it.
    ///
    /// # Errors
    /// As [`Lanes::append`]; also if one before it cannot be appended: the change stays decided, and comes later.
    pub async fn append_decided(&self, conversation: ConversationId, draft: Draft) -> Result<Appended, LaneError> {
        let decided = self.reader().decided(conversation).await.map_err(|error| store_error(&error))?;
        if decided.len() as u64 >= MAX_DECIDED {
            return Err(LaneError::Unavailable("too many changes wait for the event log before this one".to_owned()));
        }
        // If it is not there any more its event is stored, and those before it are events.
        let place = decided.iter().position(|other| other.id == draft.id).unwrap_or(0);
        for earlier in decided.into_iter().take(place) {
            self.append(conversation, earlier).await?;
        }
        self.append(conversation, draft).await
    }
}
