//! What all control changes share: the transaction, the rights, the outbox row, and getting the event appended.

use std::sync::Arc;

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, IntoActiveModel as _, PaginatorTrait as _,
    QueryFilter, QuerySelect,
};
use sealpost_lane::{Draft, LaneError, Rule};
use sealpost_schema::entities::{conversation, outbox, participant};
use sealpost_schema::{
    Action, ConversationId, ConversationKind, Event, EventBody, EventId, HistoryVisibility, LeastRole, NamedRole,
    ProblemKind, Rights, Role, Timestamp, UserId,
};

use crate::blocks::is_blocked;
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

/// The participation of a user.
pub async fn find_participant(
    db: &impl ConnectionTrait,
    id: ConversationId,
    user: UserId,
) -> ApiResult<Option<participant::Model>> {
    let row = participant::Entity::find_by_id((id.0, user.0)).one(db).await;
    row.map_err(|error| ApiError::store(&error))
}

/// Makes somebody a participant, and records the event. They see what the settings let newcomers see.
pub async fn admit(
    app: &App,
    transaction: &DatabaseTransaction,
    conversation: &conversation::Model,
    named: NamedRole,
    by: UserId,
) -> ApiResult<(Change, participant::Model)> {
    let id = ConversationId(conversation.id);
    let count = participant::Entity::of(id.0).count(transaction).await.map_err(|error| ApiError::store(&error))?;
    if count >= app.config.max_participants as u64 {
        return Err(ApiError::invalid(format!(
            "This conversation has {count} participants, the most that this server allows."
        )));
    }
    let NamedRole { user_id, role } = named;
    let change = Change::new(app, id, by, EventBody::ParticipantAdded { user_id, role });
    let sees_all = HistoryVisibility::parse(&conversation.history) == Some(HistoryVisibility::All);
    let row = participant::Model {
        conversation_id: id.0,
        user_id: user_id.0,
        role: role.as_str().to_owned(),
        added_at: change.created_at.millis(),
        read_seq: 0,
        delivered_seq: 0,
        visible_from: if sees_all { 0 } else { participant::NOT_YET },
        added_event_id: Some(change.id.0),
        muted_until: None,
        archived_at: None,
        hidden_seq: None,
        shut_by: is_blocked(transaction, user_id, by).await?.then_some(by.0),
    };
    let insert = participant::Entity::insert(row.clone().into_active_model());
    insert.exec_without_returning(transaction).await.map_err(|error| ApiError::store(&error))?;
    change.record(transaction).await?;
    Ok((change, row))
}

/// Gives a participant another role, and records the event. `opens`: it was shut for them, and is not any more.
pub async fn give_role(
    app: &App,
    transaction: &DatabaseTransaction,
    id: ConversationId,
    named: NamedRole,
    opens: bool,
    by: UserId,
) -> ApiResult<Change> {
    let NamedRole { user_id, role } = named;
    let shut_by = if opens { Set(None) } else { NotSet };
    let row = participant::ActiveModel { role: Set(role.as_str().to_owned()), shut_by, ..Default::default() };
    participant::Entity::update_many()
        .set(row)
        .filter(participant::Column::ConversationId.eq(id.0))
        .filter(participant::Column::UserId.eq(user_id.0))
        .exec(transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let change = Change::new(app, id, by, EventBody::ParticipantAdded { user_id, role });
    change.record(transaction).await?;
    Ok(change)
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
    Ok(find_participant(db, id, user).await?.and_then(|row| Role::parse(&row.role)))
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
        "This is the last owner. Hand the conversation over first, at POST /api/conversations/{conversation_id}/transfer, or delete it.",
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
    pub async fn publish(self, app: &App) -> ApiResult<Arc<Event>> {
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
