//! Retention: how long conversations keep messages, and how far each has been worked off.

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
        let mut days = column("retention_days").integer().null().take();
        manager.alter_table(Table::alter().table(Alias::new("conversations")).add_column(&mut days).to_owned()).await?;
        let mut marks = Table::create().table(Alias::new("retention_marks")).to_owned();
        for column in [
            column("conversation_id").uuid().not_null().primary_key().take(),
            column("floor_seq").big_integer().not_null().take(),
            column("next_at").big_integer().not_null().take(),
        ] {
            marks.col(column);
        }
        manager.create_table(marks).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("retention_marks")).to_owned()).await?;
        let days =
            Table::alter().table(Alias::new("conversations")).drop_column(Alias::new("retention_days")).to_owned();
        manager.alter_table(days).await
    }
}
