//! A user as others see them.

use sealpost_schema::entities::user;
use sealpost_schema::{Timestamp, UserId};
use serde::Serialize;
use uuid::Uuid;

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct UserResponse {
    pub id: UserId,
    #[schema(example = "ada")]
    pub username: String,
    #[schema(example = "Ada Lovelace")]
    pub display_name: String,
    #[schema(example = "Computing Bernoulli numbers")]
    pub status_text: Option<String>,
    /// A name of the IANA database.
    #[schema(example = "Europe/London")]
    pub time_zone: Option<String>,
    /// For `GET /api/avatars/{id}`.
    pub avatar_id: Option<Uuid>,
    pub created_at: Timestamp,
}

impl UserResponse {
    pub fn new(row: user::Model) -> Self {
        Self {
            id: UserId(row.id),
            username: row.username,
            display_name: row.display_name,
            status_text: row.status_text,
            time_zone: row.time_zone,
            avatar_id: row.avatar_id,
            created_at: Timestamp::from_millis(row.created_at),
        }
    }
}
