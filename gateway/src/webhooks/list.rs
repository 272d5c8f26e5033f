//! `GET /webhooks`, `GET /webhooks/{id}`

use axum::Json;
use axum::extract::State;
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query as Select};
use sea_orm::{
    ColumnTrait as _, Condition, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use sealpost_schema::entities::{conversation, participant, user, webhook};
use sealpost_schema::{Action, ConversationKind, Problem, Role, UserId};
use serde::Serialize;

use super::load;
use super::model::WebhookResponse;
use crate::auth::{Principal, is_admin};
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

const MAX_LISTED: u64 = 1000;

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListWebhooksResponse {
    /// The newest first; 1,000 at most.
    pub webhooks: Vec<WebhookResponse>,
}

/// List webhooks
///
/// Those that you may manage: of your service accounts (an admin sees those of all), and of the conversations whose settings you may change.
#[utoipa::path(
    get, path = "/webhooks", tag = "webhooks", security(("bearer" = [])),
    responses(
        (status = 200, body = ListWebhooksResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_webhooks(State(app): State<App>, principal: Principal) -> ApiResult<Json<ListWebhooksResponse>> {
    let admin = is_admin(&app, principal.user_id).await?;
    let store = |error: DbErr| ApiError::store(&error);
    let mut accounts = Select::select();
    accounts.column(user::Column::Id).from(user::Entity).and_where(user::Column::Kind.eq(user::SERVICE));
    accounts.and_where(user::Column::DisabledAt.is_null());
    if !admin {
        accounts.and_where(user::Column::OwnerId.eq(principal.user_id.0));
    }
    let of_accounts = Condition::all()
        .add(webhook::Column::ConversationId.is_null())
        .add(webhook::Column::ReaderId.in_subquery(accounts));
    let of_conversations =
        webhook::Column::ConversationId.in_subquery(manageable(&app, principal.user_id).await.map_err(store)?);
    let rows = webhook::Entity::find()
        .filter(Condition::any().add(of_accounts).add(of_conversations))
        .order_by_desc(webhook::Column::Id)
        .limit(MAX_LISTED)
        .all(&app.db)
        .await
        .map_err(store)?;
    Ok(Json(ListWebhooksResponse { webhooks: rows.into_iter().map(Into::into).collect() }))
}

/// The conversations with webhooks whose settings this user may change.
async fn manageable(app: &App, user: UserId) -> Result<sea_orm::sea_query::SelectStatement, DbErr> {
    let with_webhooks = Select::select()
        .column(webhook::Column::ConversationId)
        .from(webhook::Entity)
        .and_where(webhook::Column::ConversationId.is_not_null())
        .to_owned();
    let rows = conversation::Entity::for_user(user.0)
        .filter(conversation::Column::Id.in_subquery(with_webhooks))
        .limit(MAX_LISTED)
        .all(&app.db)
        .await?;
    let roles = participant::Entity::of_user(user.0)
        .filter(participant::Column::ConversationId.is_in(rows.iter().map(|row| row.id)))
        .all(&app.db)
        .await?;
    let may = |row: &&conversation::Model| {
        let role = roles.iter().find(|one| one.conversation_id == row.id).and_then(|one| Role::parse(&one.role));
        let rights = ConversationKind::parse(&row.kind).and_then(|kind| row.rights_of(kind).ok());
        rights.zip(role).is_some_and(|(rights, role)| rights.allow(role, Action::ChangeSettings))
    };
    let ids: Vec<Uuid> = rows.iter().filter(may).map(|row| row.id).collect();
    let mut chosen = Select::select();
    chosen.column(conversation::Column::Id).from(conversation::Entity);
    chosen.and_where(Expr::col(conversation::Column::Id).is_in(ids));
    Ok(chosen)
}

/// Get a webhook
#[utoipa::path(
    get, path = "/webhooks/{id}", tag = "webhooks", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = WebhookResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such webhook"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn get_webhook(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> ApiResult<Json<WebhookResponse>> {
    Ok(Json(load(&app, principal, id).await?.into()))
}
