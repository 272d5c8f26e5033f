//! `GET /admin/audit`

use axum::Json;
use axum::extract::State;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select};
use sealpost_schema::entities::audit;
use sealpost_schema::{Problem, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::auth::Admin;
use crate::page;
use crate::problem::{ApiError, ApiResult, Query};
use crate::state::App;

const MAX_LIMIT: u64 = 500;
const MAX_ACTION_CHARS: usize = 64;

/// Which rows. All that are given have to fit.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Such as `signed_in` or `sign_in_failed`.
    #[param(example = "sign_in_failed", pattern = "^[a-z_]{1,64}$")]
    pub action: Option<String>,
    /// Whose account it is about.
    pub user_id: Option<UserId>,
    /// Who did it.
    pub actor_id: Option<UserId>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// 1 to 500. The export has no limit and does not look at this.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub limit: u64,
    /// `next` of the page before.
    pub before: Option<Uuid>,
}

fn default_limit() -> u64 {
    100
}

impl AuditQuery {
    pub fn select(&self) -> ApiResult<Select<audit::Entity>> {
        page::check_limit(self.limit, MAX_LIMIT)?;
        let mut select = audit::Entity::find();
        if let Some(action) = &self.action {
            if action.len() > MAX_ACTION_CHARS || !action.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            {
                return Err(ApiError::invalid("action is a name such as `signed_in`."));
            }
            select = select.filter(audit::Column::Action.eq(action));
        }
        for (column, id) in [(audit::Column::UserId, self.user_id), (audit::Column::ActorId, self.actor_id)] {
            if let Some(id) = id {
                select = select.filter(column.eq(id.0));
            }
        }
        if let Some(since) = self.since {
            select = select.filter(audit::Column::At.gte(since.millis()));
        }
        if let Some(until) = self.until {
            select = select.filter(audit::Column::At.lt(until.millis()));
        }
        if let Some(before) = self.before {
            select = select.filter(audit::Column::Id.lt(before));
        }
        Ok(select)
    }
}

/// One thing that happened.
#[derive(Serialize, utoipa::ToSchema)]
pub struct AuditRowResponse {
    pub id: Uuid,
    pub at: Timestamp,
    #[schema(example = "signed_in")]
    pub action: String,
    /// Who did it; none if nobody was signed in, or the operator did it on the command line.
    pub actor_id: Option<UserId>,
    /// Whose account it is about.
    pub user_id: Option<UserId>,
    pub session_id: Option<SessionId>,
    #[schema(example = "192.0.2.7")]
    pub address: Option<String>,
    pub user_agent: Option<String>,
    /// What belongs to the action.
    #[schema(value_type = Object, example = json!({ "method": "password" }))]
    pub details: Value,
}

impl AuditRowResponse {
    pub fn new(row: audit::Model) -> Self {
        Self {
            id: row.id,
            at: Timestamp::from_millis(row.at),
            action: row.action,
            actor_id: row.actor_id.map(UserId),
            user_id: row.user_id.map(UserId),
            session_id: row.session_id.map(SessionId),
            address: row.address,
            user_agent: row.user_agent,
            details: serde_json::from_str(&row.details).unwrap_or_default(),
        }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListAuditResponse {
    /// The newest first.
    pub entries: Vec<AuditRowResponse>,
    /// If there are more: send it as `before`.
    pub next: Option<Uuid>,
}

/// Read the audit log
#[utoipa::path(
    get, path = "/admin/audit", tag = "admin", security(("bearer" = [])),
    params(AuditQuery),
    responses(
        (status = 200, body = ListAuditResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_audit(
    State(app): State<App>,
    _admin: Admin,
    Query(query): Query<AuditQuery>,
) -> ApiResult<Json<ListAuditResponse>> {
    let select = query.select()?.order_by_desc(audit::Column::Id).limit(query.limit + 1);
    let mut rows = select.all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    let has_more = page::cut(&mut rows, query.limit);
    let next = rows.last().filter(|_| has_more).map(|last| last.id);
    Ok(Json(ListAuditResponse { entries: rows.into_iter().map(AuditRowResponse::new).collect(), next }))
}
