//! What admins tell everybody.

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
        let mut announcements = Table::create().table(Alias::new("announcements")).to_owned();
        for column in [
            column("id").uuid().not_null().primary_key().take(),
            column("wrapped").text().not_null().take(),
            column("sealed").text().not_null().take(),
            column("created_by").uuid().not_null().take(),
            column("created_at").big_integer().not_null().take(),
            column("expires_at").big_integer().not_null().take(),
        ] {
            announcements.col(column);
        }
        manager.create_table(announcements).await?;
        let mut marks = Table::create().table(Alias::new("announcement_marks")).to_owned();
        marks.col(column("user_id").uuid().not_null().primary_key());
        marks.col(column("seen_id").uuid().not_null());
        manager.create_table(marks).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["announcement_marks", "announcements"] {
            manager.drop_table(Table::drop().table(Alias::new(name)).to_owned()).await?;
        }
        Ok(())
    }
}
