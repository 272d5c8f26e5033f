//! Drafts.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

fn column(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut drafts = Table::create().table(Alias::new("drafts")).to_owned();
        for column in [
            column("user_id").uuid().not_null().take(),
            column("conversation_id").uuid().not_null().take(),
            column("draft_id").uuid().not_null().take(),
            column("sealed").text().not_null().take(),
            column("updated_at").big_integer().not_null().take(),
        ] {
            drafts.col(column);
        }
        drafts.primary_key(Index::create().col(Alias::new("user_id")).col(Alias::new("conversation_id")));
        manager.create_table(drafts).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("drafts")).to_owned()).await
    }
}
