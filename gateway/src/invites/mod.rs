//! Invite links: whoever has the token can join the conversation.
//!
//! The token is shown once and stored as a hash; it travels in bodies, never in addresses. A link is as good as the one who made it: it
//! ends with their right to invite. What is wrong with a link is not said.

mod join;
mod links;

use sealpost_schema::entities::invite_link;
use sealpost_schema::{Role, Timestamp, UserId};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(links::create_invite, links::list_invites))
        .routes(routes!(links::revoke_invite))
        .routes(routes!(join::join_by_invite))
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct InviteResponse {
    pub id: Uuid,
    /// What those get who join with it.
    pub role: Role,
    pub created_by: UserId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub max_uses: u64,
    pub uses: u64,
}

impl InviteResponse {
    fn new(row: &invite_link::Model) -> Option<Self> {
        Some(Self {
            id: row.id,
            role: Role::parse(&row.role)?,
            created_by: UserId(row.created_by),
            created_at: Timestamp::from_millis(row.created_at),
            expires_at: Timestamp::from_millis(row.expires_at),
            max_uses: u64::try_from(row.max_uses).unwrap_or(0),
            uses: u64::try_from(row.uses).unwrap_or(0),
        })
    }
}
