//! Tests of webhooks that were asked for: one of each at a time.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_tests")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub webhook_id: Uuid,
    /// Of this one; a later one has another.
    pub id: Uuid,
    pub asked_at: i64,
    /// Until when the worker that took it has time.
    pub lease_until: i64,
    pub done_at: Option<i64>,
    /// What it was answered with, or why there was no answer.
    pub status: Option<i32>,
    pub error: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
