//! `GET /admin/audit/export`

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use sea_orm::{ColumnTrait as _, DbErr, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sealpost_schema::Problem;
use sealpost_schema::entities::audit;
use uuid::Uuid;

use super::audit_log::{AuditQuery, AuditRowResponse};
use crate::auth::Admin;
use crate::problem::{ApiResult, Query};
use crate::state::App;

/// Rows in memory at a time.
const PAGE: u64 = 500;

/// Export the audit log
///
/// JSON lines, the oldest first, each as in the list. `limit` and `before` are not looked at. If the body ends without its last line
/// break, the store went away on the way.
#[utoipa::path(
    get, path = "/admin/audit/export", tag = "admin", security(("bearer" = [])),
    params(AuditQuery),
    responses(
        (status = 200, body = String, content_type = "application/x-ndjson", description = "One object a line"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn export_audit(
    State(app): State<App>,
    _admin: Admin,
    Query(query): Query<AuditQuery>,
) -> ApiResult<Response> {
    let query = AuditQuery { before: None, ..query };
    query.select()?;
    let pages = stream::try_unfold(Some(Uuid::nil()), move |after| {
        let (app, query) = (app.clone(), query.clone());
        async move {
            let Some(after) = after else { return Ok::<_, DbErr>(None) };
            let rows = page(&app, &query, after).await?;
            let next = rows.last().map(|row| row.id).filter(|_| rows.len() as u64 == PAGE);
            Ok(Some((lines(rows), next)))
        }
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(pages)).into_response())
}

async fn page(app: &App, query: &AuditQuery, after: Uuid) -> Result<Vec<audit::Model>, DbErr> {
    // Checked above.
    let Ok(select) = query.select() else { return Ok(Vec::new()) };
    select.filter(audit::Column::Id.gt(after)).order_by_asc(audit::Column::Id).limit(PAGE).all(&app.db).await
}

fn lines(rows: Vec<audit::Model>) -> Bytes {
    let mut text = String::new();
    for row in rows {
        // Rows always serialise.
        text.push_str(&serde_json::to_string(&AuditRowResponse::new(row)).unwrap_or_default());
        text.push('\n');
    }
    Bytes::from(text)
}
