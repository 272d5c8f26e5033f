//! Rights of each conversation.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut rights = ColumnDef::new(Alias::new("rights")).text().null().take();
        let table = Table::alter().table(Alias::new("conversations")).add_column(&mut rights).to_owned();
        manager.alter_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::alter().table(Alias::new("conversations")).drop_column(Alias::new("rights")).to_owned();
        manager.alter_table(table).await
    }
}
