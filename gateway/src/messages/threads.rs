//! `GET /conversations/{conversation_id}/threads`, `GET` and `PUT /messages/{message_id}/thread`

use axum::Json;
use axum::extract::State;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query as Sql};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use sealpost_schema::entities::{event, thread, thread_follower};
use sealpost_schema::{ConversationId, MessageId, Problem, ProblemKind, Seq, UserId};
use serde::{Deserialize, Serialize};

use super::get::find;
use super::model::MessageResponse;
use super::show::{Found, show};
use super::thread_state::{ThreadResponse, states};
use crate::auth::Principal;
use crate::conversations::load_start;
use crate::page::{check_limit, cut};
use crate::problem::{ApiError, ApiResult, Body, Path, Query};
use crate::state::App;

/// Followers named with a thread.
const MAX_FOLLOWERS: u64 = 100;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListThreadsQuery {
    /// Threads whose last reply is before this seq.
    #[param(minimum = 1)]
    pub before: Option<u64>,
    /// 1 to 200.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: u64,
}

fn default_limit() -> u64 {
    50
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListThreadsResponse {
    /// The first messages of the threads, the thread with the latest reply first.
    pub threads: Vec<MessageResponse>,
    pub has_more: bool,
}

/// List the threads of a conversation
#[utoipa::path(
    get, path = "/conversations/{conversation_id}/threads", tag = "messages", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path), ListThreadsQuery),
    responses(
        (status = 200, body = ListThreadsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A limit out of range"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_threads(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
    Query(query): Query<ListThreadsQuery>,
) -> ApiResult<Json<ListThreadsResponse>> {
    check_limit(query.limit, 200)?;
    let start = load_start(&app, principal.user_id, id, "conversation").await?;
    let visible = Sql::select()
        .expr(Expr::val(1))
        .from(event::Entity)
        .and_where(Expr::col((event::Entity, event::Column::Id)).equals((thread::Entity, thread::Column::RootId)))
        .and_where(Expr::col((event::Entity, event::Column::Seq)).gte(start.to_db()))
        .to_owned();
    let rows = thread::Entity::find()
        .filter(Expr::exists(visible))
        .filter(thread::Column::ConversationId.eq(id.0))
        .filter(thread::Column::LastSeq.lt(Seq(query.before.unwrap_or(u64::MAX)).to_db()))
        .order_by_desc(thread::Column::LastSeq)
        .limit(query.limit + 1)
        .all(&app.db)
        .await;
    let mut rows = rows.map_err(|error| ApiError::store(&error))?;
    let has_more = cut(&mut rows, query.limit);
    let roots = event::Entity::of_for_user(id.0, principal.user_id.0)
        .filter(event::Column::Id.is_in(rows.iter().map(|row| row.root_id)))
        .all(&app.db)
        .await;
    let mut roots = roots.map_err(|error| ApiError::store(&error))?;
    roots.sort_by_key(|root| rows.iter().position(|row| row.root_id == root.id));
    let threads = show(&app, principal.user_id, roots.into_iter().map(Found::from).collect()).await?;
    Ok(Json(ListThreadsResponse { threads, has_more }))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetThreadQuery {
    /// Replies after this seq.
    #[serde(default)]
    pub after: u64,
    /// 1 to 200.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: u64,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct GetThreadResponse {
    /// The message that began it.
    pub root: MessageResponse,
    /// Oldest first.
    pub replies: Vec<MessageResponse>,
    pub has_more: bool,
    /// The first 100 of those who follow it.
    pub followers: Vec<UserId>,
}

/// Read a thread
#[utoipa::path(
    get, path = "/messages/{message_id}/thread", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path), GetThreadQuery),
    responses(
        (status = 200, body = GetThreadResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A limit out of range"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn get_thread(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
    Query(query): Query<GetThreadQuery>,
) -> ApiResult<Json<GetThreadResponse>> {
    check_limit(query.limit, 200)?;
    let me = principal.user_id;
    let root = find(&app, me, id).await?;
    let replies = event::Entity::of_for_user(root.conversation_id, me.0)
        .filter(event::Column::ThreadId.eq(id.0))
        .filter(event::Column::Kind.eq("message_posted"))
        .filter(event::Column::Seq.gt(Seq(query.after).to_db()))
        .order_by_asc(event::Column::Seq)
        .limit(query.limit + 1);
    let rows = event::Shown::of(replies).all(&app.db).await;
    let mut rows = rows.map_err(|error| ApiError::store(&error))?;
    let has_more = cut(&mut rows, query.limit);
    let followers = thread_follower::Entity::of(id.0)
        .order_by_asc(thread_follower::Column::UserId)
        .limit(MAX_FOLLOWERS)
        .all(&app.db)
        .await;
    let followers = followers.map_err(|error| ApiError::store(&error))?;
    let found = std::iter::once(root).chain(rows.into_iter().map(|event::Shown(row)| row)).map(Found::from).collect();
    let mut shown = show(&app, me, found).await?.into_iter();
    Ok(Json(GetThreadResponse {
        root: shown.next().ok_or_else(|| ApiError::not_found("message"))?,
        replies: shown.collect(),
        has_more,
        followers: followers.into_iter().map(|row| UserId(row.user_id)).collect(),
    }))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutThreadRequest {
    /// Follow it, or no longer.
    pub following: Option<bool>,
    /// Everything up to this seq was read. Only rises.
    pub read_seq: Option<Seq>,
}

/// Follow a thread, and say how far you have read it
///
/// Who begins a thread or replies follows it, until they say otherwise.
#[utoipa::path(
    put, path = "/messages/{message_id}/thread", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path)),
    request_body = PutThreadRequest,
    responses(
        (status = 200, body = ThreadResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you, or it has no thread"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A seq beyond the last reply"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn put_thread(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
    Body(request): Body<PutThreadRequest>,
) -> ApiResult<Json<ThreadResponse>> {
    let me = principal.user_id;
    let root = find(&app, me, id).await?;
    let before =
        states(&app, me, vec![root.id]).await?.remove(&root.id).ok_or_else(|| ApiError::not_found("thread"))?;
    if let Some(seq) = request.read_seq.filter(|seq| *seq > before.last_seq) {
        let detail = format!("The last reply is {}; seq {seq} is beyond it.", before.last_seq);
        return Err(ApiError::new(ProblemKind::SeqOutOfRange, detail));
    }
    let following = request.following.unwrap_or(before.following);
    let read_seq = request.read_seq.unwrap_or_default();
    write(&app, me, &root, following, read_seq).await?;
    let after = states(&app, me, vec![root.id]).await?.remove(&root.id);
    Ok(Json(after.ok_or_else(|| ApiError::not_found("thread"))?))
}

async fn write(app: &App, user: UserId, root: &event::Model, following: bool, read: Seq) -> ApiResult<()> {
    use thread_follower::Column as F;
    let row = thread_follower::ActiveModel {
        user_id: Set(user.0),
        root_id: Set(root.id),
        conversation_id: Set(root.conversation_id),
        following: Set(following),
        read_seq: Set(read.to_db()),
    };
    let higher = Expr::cust(
        "CASE WHEN excluded.read_seq > thread_followers.read_seq THEN excluded.read_seq ELSE thread_followers.read_seq END",
    );
    let instead =
        OnConflict::columns([F::UserId, F::RootId]).update_column(F::Following).value(F::ReadSeq, higher).to_owned();
    let written = thread_follower::Entity::insert(row).on_conflict(instead).exec_without_returning(&app.db).await;
    written.map(|_| ()).map_err(|error| ApiError::store(&error))
}
