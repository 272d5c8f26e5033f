//! `GET /channels`

use std::collections::{HashMap, HashSet};

use axum::Json;
use axum::extract::State;
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait as _, DbErr, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sealpost_schema::entities::{conversation, participant};
use sealpost_schema::{ConversationId, Problem, UserId};
use serde::{Deserialize, Serialize};

use crate::auth::{Principal, username};
use crate::conversations::open_title;
use crate::page::{self, beginning_with, check_limit};
use crate::problem::{ApiError, ApiResult, Query};
use crate::state::App;

const MAX_LIMIT: u64 = 100;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListChannelsQuery {
    /// How the public name begins, in any case. Nothing lists all.
    #[serde(default)]
    #[param(example = "har", max_length = 32)]
    pub query: String,
    /// 1 to 100.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    pub limit: u64,
    /// `next` of the page before.
    #[param(example = "harbour")]
    pub after: Option<String>,
}

fn default_limit() -> u64 {
    50
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ChannelResponse {
    pub id: ConversationId,
    #[schema(example = "harbour")]
    pub public_name: String,
    pub title: Option<String>,
    pub participant_count: u64,
    /// Whether it can be read live without an account, at `/ws/public/{public_name}`.
    pub open_reading: bool,
    /// Whether the caller takes part in it.
    pub joined: bool,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListChannelsResponse {
    /// By public name.
    pub channels: Vec<ChannelResponse>,
    /// If there are more: send it as `after`.
    #[schema(example = "harbour")]
    pub next: Option<String>,
}

/// Find public channels
///
/// By the beginning of their public name.
#[utoipa::path(
    get, path = "/channels", tag = "conversations", security(("bearer" = [])),
    params(ListChannelsQuery),
    responses(
        (status = 200, body = ListChannelsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_channels(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<ListChannelsQuery>,
) -> ApiResult<Json<ListChannelsResponse>> {
    let mut rows = find(&app, &query).await?;
    let has_more = page::cut(&mut rows, query.limit);
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let conversations: Vec<_> = ids.iter().copied().map(ConversationId).collect();
    app.keys.prepare_all(&conversations).await.map_err(|error| ApiError::internal(&error))?;
    let (counts, joined) = facts(&app, principal.user_id, &ids).await.map_err(|error| ApiError::store(&error))?;
    let mut channels = Vec::with_capacity(rows.len());
    for row in rows {
        channels.push(ChannelResponse {
            id: ConversationId(row.id),
            title: open_title(&app, &row).await,
            participant_count: counts.get(&row.id).copied().unwrap_or(0),
            open_reading: row.open_reading,
            joined: joined.contains(&row.id),
            public_name: row.public_name.unwrap_or_default(),
        });
    }
    let next = channels.last().filter(|_| has_more).map(|last| last.public_name.clone());
    Ok(Json(ListChannelsResponse { channels, next }))
}

/// The page and one more.
async fn find(app: &App, query: &ListChannelsQuery) -> ApiResult<Vec<conversation::Model>> {
    check_limit(query.limit, MAX_LIMIT)?;
    let begin = query.query.trim().to_ascii_lowercase();
    if begin.len() > 32 {
        return Err(ApiError::invalid("query has at most 32 characters: no public name is longer."));
    }
    let mut page = conversation::Entity::public()
        .filter(conversation::Column::PublicName.like(beginning_with(&begin)))
        .order_by_asc(conversation::Column::PublicName)
        .limit(query.limit + 1);
    if let Some(after) = &query.after {
        let after = username::normalize(after)
            .ok_or_else(|| ApiError::invalid("after is no public name: send `next` of the page before."))?;
        page = page.filter(conversation::Column::PublicName.gt(after));
    }
    page.all(&app.db).await.map_err(|error| ApiError::store(&error))
}

/// How many take part in each, and in which the user does.
async fn facts(app: &App, user: UserId, ids: &[Uuid]) -> Result<(HashMap<Uuid, u64>, HashSet<Uuid>), DbErr> {
    let of = |select: sea_orm::Select<participant::Entity>| {
        let ids = ids.iter().copied();
        select
            .select_only()
            .column(participant::Column::ConversationId)
            .filter(participant::Column::ConversationId.is_in(ids))
    };
    let counts: Vec<(Uuid, i64)> = of(<participant::Entity as sea_orm::EntityTrait>::find())
        .column_as(participant::Column::UserId.count(), "participants")
        .group_by(participant::Column::ConversationId)
        .into_tuple()
        .all(&app.db)
        .await?;
    let joined: Vec<Uuid> = of(participant::Entity::of_user(user.0)).into_tuple().all(&app.db).await?;
    let counts = counts.into_iter().map(|(id, count)| (id, u64::try_from(count).unwrap_or(0)));
    Ok((counts.collect(), joined.into_iter().collect()))
}
