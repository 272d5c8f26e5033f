//! A user as others see them.

use sealpost_schema::entities::user;
use sealpost_schema::{Timestamp, UserId};
use serde::Serialize;

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct UserResponse {
    pub id: UserId,
    #[schema(example = "ada")]
    pub username: String,
    #[schema(example = "Ada Lovelace")]
    pub display_name: String,
    pub created_at: Timestamp,
}

impl UserResponse {
    pub fn new(row: user::Model) -> Self {
        Self {
            id: UserId(row.id),
            username: row.username,
            display_name: row.display_name,
            created_at: Timestamp::from_millis(row.created_at),
        }
    }
}
