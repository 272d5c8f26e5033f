//! Conversations. Titles are sealed under the conversation's key.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Query;

use super::participant;
use crate::{ConversationKind, Lifetimes, Rights, RightsChange};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "conversations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// `dm`, `group` or `channel`.
    pub kind: String,
    /// Both user ids of a dm in order, `<lower>:<higher>`: two dms between the same people are one.
    #[sea_orm(unique)]
    pub dm_key: Option<String>,
    /// Envelope; bound to `title_event_id` as message and `title_sender_id` as sender.
    #[sea_orm(column_type = "Text", nullable)]
    pub sealed_title: Option<String>,
    pub title_event_id: Option<Uuid>,
    pub title_sender_id: Option<Uuid>,
    pub created_by: Uuid,
    pub created_at: i64,
    pub deleted_at: Option<i64>,
    /// What differs from the defaults of the kind: [`RightsChange`] as JSON.
    #[sea_orm(column_type = "Text", nullable)]
    pub rights: Option<String>,
    /// [`HistoryVisibility`](crate::HistoryVisibility): for those who are added.
    pub history: String,
    /// Of a public channel: 3 to 32 characters out of `a-z0-9._-`, in clear.
    #[sea_orm(unique)]
    pub public_name: Option<String>,
    /// Whether a public channel can be read live without an account.
    pub open_reading: bool,
    /// Seconds after which messages disappear; none: they stay.
    pub disappear_after: Option<i32>,
    /// Days after which messages are destroyed; none: when the server says.
    pub retention_days: Option<i32>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub fn lifetimes(&self) -> Lifetimes {
        lifetimes(self.disappear_after, self.retention_days)
    }

    /// What was changed of the rights.
    pub fn rights_change(&self) -> Result<RightsChange, serde_json::Error> {
        rights_change(self.rights.as_deref())
    }

    /// The rights as they are now.
    pub fn rights_of(&self, kind: ConversationKind) -> Result<Rights, serde_json::Error> {
        rights(kind, self.rights.as_deref())
    }
}

/// What these columns say.
pub fn lifetimes(disappear_after: Option<i32>, retention_days: Option<i32>) -> Lifetimes {
    let positive = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
    Lifetimes { disappear_after_seconds: positive(disappear_after), retention_days: positive(retention_days) }
}

fn rights_change(column: Option<&str>) -> Result<RightsChange, serde_json::Error> {
    column.map_or(Ok(RightsChange::new()), serde_json::from_str)
}

/// The rights of a conversation of this kind, of which this was changed ([`Model::rights`]).
pub fn rights(kind: ConversationKind, column: Option<&str>) -> Result<Rights, serde_json::Error> {
    let mut rights = Rights::of(kind);
    rights.apply(&rights_change(column)?);
    Ok(rights)
}

impl Entity {
    /// Public channels: what everybody signed in can find and join.
    pub fn public() -> Select<Self> {
        Self::find().filter(Column::PublicName.is_not_null()).filter(Column::DeletedAt.is_null())
    }

    /// Conversations that `user` takes part in and that are not deleted.
    pub fn for_user(user: Uuid) -> Select<Self> {
        let mine = Query::select()
            .column(participant::Column::ConversationId)
            .from(participant::Entity)
            .cond_where(participant::sees(user))
            .to_owned();
        Self::find().filter(Column::Id.in_subquery(mine)).filter(Column::DeletedAt.is_null())
    }
}

/// The `dm_key` of two users, in either order.
pub fn dm_key(one: Uuid, other: Uuid) -> String {
    let (low, high) = if one <= other { (one, other) } else { (other, one) };
    format!("{}:{}", low.simple(), high.simple())
}
