//! Writing and opening drafts.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _};
use sealpost_schema::entities::draft;
use sealpost_schema::{ControlNotice, ConversationId, DraftNotice, EventId, SessionId, Timestamp, UserId};
use serde::Serialize;

use crate::conversations::find_visible;
use crate::live::announce;
use crate::messages::{check_text, key_error};
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

#[derive(Serialize, utoipa::ToSchema)]
pub struct DraftResponse {
    pub conversation_id: ConversationId,
    /// `null` if it cannot be opened any more.
    pub text: Option<String>,
    pub updated_at: Timestamp,
}

/// Keeps this text, or with `None` none, and tells the user's other devices. The last one to write wins.
pub async fn put(
    app: &App,
    user_id: UserId,
    session_id: SessionId,
    conversation_id: ConversationId,
    text: Option<String>,
) -> ApiResult<DraftResponse> {
    text.as_deref().map_or(Ok(()), |text| check_text(text, app.config.max_text_bytes))?;
    find_visible(app, user_id, conversation_id, "conversation").await?;
    let (draft_id, updated_at) = (EventId::new(), app.clock.now());
    let sealed = match &text {
        None => {
            let mine = draft::Entity::delete_by_id((user_id.0, conversation_id.0)).exec(&app.db).await;
            mine.map_err(|error| ApiError::store(&error))?;
            None
        }
        Some(text) => {
            let key = app.keys.newest(conversation_id).await.map_err(key_error)?;
            let sealed = app.keys.seal(&key, draft_id, user_id, text).map_err(|error| ApiError::internal(&error))?;
            write(app, user_id, conversation_id, draft_id, &sealed, updated_at).await?;
            Some(sealed)
        }
    };
    let notice = DraftNotice { user_id, session_id, conversation_id, draft_id: draft_id.0, sealed, updated_at };
    // One that is lost is made up for by the next look at the drafts.
    announce(app, &ControlNotice::Draft(notice)).await;
    Ok(DraftResponse { conversation_id, text, updated_at })
}

async fn write(
    app: &App,
    user: UserId,
    conversation: ConversationId,
    id: EventId,
    sealed: &str,
    updated_at: Timestamp,
) -> ApiResult<()> {
    let row = draft::ActiveModel {
        user_id: Set(user.0),
        conversation_id: Set(conversation.0),
        draft_id: Set(id.0),
        sealed: Set(sealed.to_owned()),
        updated_at: Set(updated_at.millis()),
    };
    let instead = OnConflict::columns([draft::Column::UserId, draft::Column::ConversationId])
        .update_columns([draft::Column::DraftId, draft::Column::Sealed, draft::Column::UpdatedAt])
        .to_owned();
    let written = draft::Entity::insert(row).on_conflict(instead).exec_without_returning(&app.db).await;
    written.map(|_| ()).map_err(|error| ApiError::store(&error))
}

pub async fn find(app: &App, user: UserId, conversation: ConversationId) -> ApiResult<DraftResponse> {
    let row = draft::Entity::for_user(user.0).filter(draft::Column::ConversationId.eq(conversation.0)).one(&app.db);
    let row = row.await.map_err(|error| ApiError::store(&error))?.ok_or_else(|| ApiError::not_found("draft"))?;
    Ok(open(app, row).await)
}

pub async fn open(app: &App, row: draft::Model) -> DraftResponse {
    let conversation_id = ConversationId(row.conversation_id);
    let opened = app.keys.open(conversation_id, EventId(row.draft_id), UserId(row.user_id), &row.sealed).await;
    if let Err(error) = &opened {
        tracing::error!(conversation = %conversation_id, %error, "a draft cannot be opened");
    }
    DraftResponse { conversation_id, text: opened.ok(), updated_at: Timestamp::from_millis(row.updated_at) }
}
