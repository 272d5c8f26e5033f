//! What all control changes share: the transaction, the rights, the outbox row, and getting the event appended.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect,
};
use sealpost_lane::{Draft, LaneError, Rule};
use sealpost_schema::entities::{conversation, outbox, participant};
use sealpost_schema::{
    Action, ConversationId, ConversationKind, Event, EventBody, EventId, LeastRole, ProblemKind, Rights, Role,
    Timestamp, UserId,
};

use crate::problem::{ApiError, ApiResult};
use crate::state::App;
pub use crate::transaction::{begin, commit};

/// A conversation for a control change, with the caller's role.
pub struct Locked {
    pub row: conversation::Model,
    pub kind: ConversationKind,
    pub role: Role,
    pub rights: Rights,
}

impl Locked {
    /// Only owners name, change and remove admins and owners.
    pub fn check_owner(&self) -> ApiResult<()> {
        if self.role == Role::Owner { Ok(()) } else { Err(forbidden(LeastRole::Owner)) }
    }

    pub fn check(&self, action: Action) -> ApiResult<()> {
        allow(&self.rights, self.role, action)
    }
}

fn allow(rights: &Rights, role: Role, action: Action) -> ApiResult<()> {
    if rights.allow(role, action) { Ok(()) } else { Err(forbidden(rights.least(action))) }
}

fn kind_and_rights(row: &conversation::Model) -> ApiResult<(ConversationKind, Rights)> {
    let kind = ConversationKind::parse(&row.kind).ok_or_else(|| ApiError::internal(&"unknown kind of conversation"))?;
    Ok((kind, row.rights_of(kind).map_err(|error| ApiError::internal(&error))?))
}

/// The conversation with the caller's role, locked until the transaction ends: control changes of one conversation come one
/// after the other.
pub async fn load_locked(transaction: &DatabaseTransaction, id: ConversationId, user: UserId) -> ApiResult<Locked> {
    let row = conversation::Entity::for_user(user.0)
        .filter(conversation::Column::Id.eq(id.0))
        .lock_exclusive()
        .one(transaction)
        .await
        .map_err(|error| ApiError::store(&error))?
        .ok_or_else(|| ApiError::not_found("conversation"))?;
    let (kind, rights) = kind_and_rights(&row)?;
    let role = role_of(transaction, id, user).await?.ok_or_else(|| ApiError::not_found("conversation"))?;
    Ok(Locked { row, kind, role, rights })
}

/// The conversation, if this user takes part in it; else 404 for a `what` (a conversation, or something in it).
pub async fn find_visible(
    app: &App,
    user: UserId,
    id: ConversationId,
    what: &'static str,
) -> ApiResult<conversation::Model> {
    let row = conversation::Entity::for_user(user.0).filter(conversation::Column::Id.eq(id.0)).one(&app.db).await;
    row.map_err(|error| ApiError::store(&error))?.ok_or_else(|| ApiError::not_found(what))
}

/// Whether the settings allow this to the user's role, for what no lane decides.
pub async fn check_right(app: &App, user: UserId, id: ConversationId, action: Action) -> ApiResult<()> {
    let row = find_visible(app, user, id, "conversation").await?;
    let (_, rights) = kind_and_rights(&row)?;
    let role = role_of(&app.db, id, user).await?.ok_or_else(|| ApiError::not_found("conversation"))?;
    allow(&rights, role, action)
}

pub async fn role_of(db: &impl ConnectionTrait, id: ConversationId, user: UserId) -> ApiResult<Option<Role>> {
    let row = participant::Entity::find_by_id((id.0, user.0)).one(db).await.map_err(|error| ApiError::store(&error))?;
    Ok(row.and_then(|row| Role::parse(&row.role)))
}

/// A dm has two participants, no title, and no end.
pub fn not_dm(kind: ConversationKind) -> ApiResult<()> {
    if kind == ConversationKind::Dm {
        return Err(ApiError::invalid("A dm cannot be changed: it is between two people, has no title, and stays."));
    }
    Ok(())
}

pub fn forbidden(least: LeastRole) -> ApiError {
    let detail = match least {
        LeastRole::Nobody => {
            "The settings of this conversation allow this to nobody. Its owners can change them.".to_owned()
        }
        _ => format!("Only {} of this conversation may do this.", least.who()),
    };
    ApiError::new(ProblemKind::Forbidden, detail)
}

/// At least one owner must stay.
pub async fn check_owner_stays(
    transaction: &DatabaseTransaction,
    id: ConversationId,
    leaving: UserId,
) -> ApiResult<()> {
    let other = participant::Entity::of(id.0)
        .filter(participant::Column::Role.eq(Role::Owner.as_str()))
        .filter(participant::Column::UserId.ne(leaving.0))
        .one(transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if other.is_some() {
        return Ok(());
    }
    Err(ApiError::new(
        ProblemKind::LastOwner,
        "This is the last owner. Make somebody else owner first, or delete the conversation.",
    ))
}

/// A decided change on its way into the event log.
pub struct Change {
    pub id: EventId,
    pub conversation_id: ConversationId,
    pub sender_id: UserId,
    pub created_at: Timestamp,
    pub body: EventBody,
}

impl Change {
    pub fn new(app: &App, conversation_id: ConversationId, sender_id: UserId, body: EventBody) -> Self {
        Self { id: EventId::new(), conversation_id, sender_id, created_at: app.clock.now(), body }
    }

    /// Writes the outbox row, in the transaction of the change, behind those of the conversation that are there: it is locked, so they
    /// were all decided before.
    pub async fn record(&self, transaction: &DatabaseTransaction) -> ApiResult<()> {
        let newest = outbox::Entity::find()
            .select_only()
            .column_as(outbox::Column::CreatedAt.max(), "newest")
            .filter(outbox::Column::ConversationId.eq(self.conversation_id.0))
            .into_tuple::<Option<i64>>()
            .one(transaction)
            .await
            .map_err(|error| ApiError::store(&error))?;
        let after_newest = newest.flatten().map_or(i64::MIN, |newest| newest.saturating_add(1));
        let row = outbox::ActiveModel {
            id: Set(self.id.0),
            conversation_id: Set(self.conversation_id.0),
            sender_id: Set(self.sender_id.0),
            body: Set(serde_json::to_string(&self.body).map_err(|error| ApiError::internal(&error))?),
            created_at: Set(self.created_at.millis().max(after_newest)),
        };
        outbox::Entity::insert(row)
            .exec_without_returning(transaction)
            .await
            .map_err(|error| ApiError::store(&error))?;
        Ok(())
    }

    /// Appends the event, after the commit, and what was decided before it. If the log is away, the change stays recorded and the outbox
    /// worker brings it.
    pub async fn publish(self, app: &App) -> ApiResult<std::sync::Arc<Event>> {
        let conversation = self.conversation_id;
        let draft = Draft {
            id: self.id,
            sender_id: self.sender_id,
            created_at: self.created_at,
            body: self.body,
            rule: Rule::Control,
            retry: false,
        };
        match app.lanes.append_decided(conversation, draft).await {
            Ok(appended) => Ok(appended.event),
            Err(LaneError::Unavailable(_) | LaneError::OutcomeUnknown) => Err(ApiError::new(
                ProblemKind::Pending,
                "The change is recorded. It takes effect, and others see it, as soon as the event log is back.",
            )),
            Err(error) => Err(ApiError::lane(&error)),
        }
    }
}
