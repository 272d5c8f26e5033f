//! Conversation keys, wrapped by the key ring. Deleting the rows destroys the content.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "conversation_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub conversation_id: Uuid,
    /// From 1, for keys of all purposes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub generation: i32,
    /// See the `sealing` crate.
    #[sea_orm(column_type = "Text")]
    pub wrapped: String,
    pub created_at: i64,
    /// [`LASTING`], [`DISAPPEARING`] or [`SINGLE`].
    pub purpose: String,
    /// Of a disappearing one: for messages that disappear after so many seconds.
    pub disappear_after: Option<i32>,
    /// Of a disappearing one: until then messages are sealed under it.
    pub seals_until: Option<i64>,
    /// What it seals has disappeared by then, and the row goes.
    pub expires_at: Option<i64>,
}

/// For what stays: new content of this kind is sealed under the highest generation.
pub const LASTING: &str = "lasting";
/// For messages that disappear, with their edits and reactions.
pub const DISAPPEARING: &str = "disappearing";
/// For one message that is to be sent later: whether it will disappear is not known yet.
pub const SINGLE: &str = "single";

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
