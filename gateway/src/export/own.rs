//! `GET /export`

use axum::extract::State;
use axum::response::Response;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sealpost_schema::entities::{audit, block, draft, event, session};
use sealpost_schema::{Problem, SessionId, Timestamp, UserId};
use serde_json::json;
use uuid::Uuid;

use super::lines::{Lines, Stop, answer};
use crate::admin::AuditRowResponse;
use crate::audit::{self as log, AuditEntry, AuditEvent};
use crate::auth::{MeResponse, Principal, SessionResponse, load_me};
use crate::caller::Caller;
use crate::conversations::{Wanted, load};
use crate::drafts;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// Rows in memory at a time.
const PAGE: u64 = 500;
/// More than anybody takes part in.
const MAX_CONVERSATIONS: u64 = 10_000;

/// Export my data
///
/// JSON lines: the account, its sessions, what the audit log has about it, whom it blocks, its drafts, the conversations it takes part in,
/// after each everything that it sent there (messages, edits, reactions, as the WebSocket protocol has them), and `end`. If there is no
/// `end`, it broke off: ask again.
#[utoipa::path(
    get, path = "/export", tag = "users", security(("bearer" = [])),
    responses(
        (status = 200, body = String, content_type = "application/x-ndjson", description = "One object a line"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many exports at once"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn export_own_data(State(app): State<App>, principal: Principal, caller: Caller) -> ApiResult<Response> {
    let me = principal.user_id;
    let account = load_me(&app, principal).await?;
    let entry = AuditEntry::own(me, AuditEvent::DataExported {});
    log::record(&app.db, app.clock.now(), &caller, entry).await.map_err(|error| ApiError::store(&error))?;
    answer(&app, "sealpost-data", move |app, lines| write(app, lines, me, account))
}

async fn write(app: App, mut lines: Lines, me: UserId, account: MeResponse) -> Result<Lines, Stop> {
    let (now, current) = (app.clock.now(), account.session_id);
    lines.write(&json!({ "type": "account", "exported_at": now, "account": account })).await?;
    write_sessions(&app, &mut lines, me, current).await?;
    write_audit(&app, &mut lines, me).await?;
    for row in block::Entity::of_user(me.0).all(&app.db).await? {
        let since = Timestamp::from_millis(row.created_at);
        lines.write(&json!({ "type": "block", "user_id": row.blocked_id, "created_at": since })).await?;
    }
    for row in draft::Entity::for_user(me.0).limit(MAX_CONVERSATIONS).all(&app.db).await? {
        lines.write(&json!({ "type": "draft", "draft": drafts::open(&app, row).await })).await?;
    }
    for conversation in load(&app, me, Wanted::All(MAX_CONVERSATIONS)).await? {
        let (id, head) = (conversation.id, conversation.head_seq);
        lines.write(&json!({ "type": "conversation", "conversation": conversation })).await?;
        let sent = event::Entity::of_for_user(id.0, me.0).filter(event::Column::SenderId.eq(me.0));
        lines.write_events(&app, id, head, sent).await?;
    }
    Ok(lines)
}

async fn write_sessions(app: &App, lines: &mut Lines, me: UserId, current: SessionId) -> Result<(), Stop> {
    for row in session::Entity::live_of(me.0, app.clock.now().millis()).all(&app.db).await? {
        let shown = SessionResponse::new(row, Some(current));
        lines.write(&json!({ "type": "session", "session": shown })).await?;
    }
    Ok(())
}

async fn write_audit(app: &App, lines: &mut Lines, me: UserId) -> Result<(), Stop> {
    let mut after = Uuid::nil();
    loop {
        let rows = audit::Entity::find()
            .filter(audit::Column::UserId.eq(me.0))
            .filter(audit::Column::Id.gt(after))
            .order_by_asc(audit::Column::Id)
            .limit(PAGE)
            .all(&app.db)
            .await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.id;
        for row in rows {
            lines.write(&json!({ "type": "audit", "entry": AuditRowResponse::new(row) })).await?;
        }
    }
}
