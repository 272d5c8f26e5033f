//! `GET /mentions`

use axum::Json;
use axum::extract::State;
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Query as Sql;
use sea_orm::{ColumnTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sealpost_schema::entities::{event, mention};
use sealpost_schema::{MessageId, Problem};
use serde::{Deserialize, Serialize};

use super::model::MessageResponse;
use super::show::{Found, show};
use crate::auth::Principal;
use crate::page::{check_limit, cut};
use crate::problem::{ApiError, ApiResult, Query};
use crate::state::App;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListMentionsQuery {
    /// Messages older than this one.
    pub before: Option<MessageId>,
    /// 1 to 200.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: u64,
}

fn default_limit() -> u64 {
    50
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListMentionsResponse {
    /// Newest first.
    pub messages: Vec<MessageResponse>,
    pub has_more: bool,
}

/// List where I am mentioned
///
/// By name or with everybody, in all conversations that you take part in.
#[utoipa::path(
    get, path = "/mentions", tag = "messages", security(("bearer" = [])),
    params(ListMentionsQuery),
    responses(
        (status = 200, body = ListMentionsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A limit out of range"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_mentions(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<ListMentionsQuery>,
) -> ApiResult<Json<ListMentionsResponse>> {
    check_limit(query.limit, 200)?;
    let me = principal.user_id;
    let mut of_me = Sql::select()
        .column(mention::Column::MessageId)
        .from(mention::Entity)
        .and_where(mention::Column::UserId.is_in([me.0, Uuid::nil()]))
        .and_where(mention::Column::SenderId.ne(me.0))
        .to_owned();
    if let Some(before) = query.before {
        of_me.and_where(mention::Column::MessageId.lt(before.0));
    }
    let rows = event::Entity::for_user(me.0)
        .filter(event::Column::Id.in_subquery(of_me))
        .filter(event::Entity::not_expired(app.clock.now()))
        .order_by_desc(event::Column::Id)
        .limit(query.limit + 1)
        .all(&app.db)
        .await;
    let mut rows = rows.map_err(|error| ApiError::store(&error))?;
    let has_more = cut(&mut rows, query.limit);
    let messages = show(&app, me, rows.into_iter().map(Found::from).collect()).await?;
    Ok(Json(ListMentionsResponse { messages, has_more }))
}
