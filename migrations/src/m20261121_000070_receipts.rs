//! Receipts: how far a participant's devices have got, and whether others may see what was read.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut delivered = ColumnDef::new(Alias::new("delivered_seq")).big_integer().not_null().default(0).take();
        manager
            .alter_table(Table::alter().table(Alias::new("participants")).add_column(&mut delivered).to_owned())
            .await?;
        let mut shown = ColumnDef::new(Alias::new("read_receipts")).boolean().not_null().default(true).take();
        manager.alter_table(Table::alter().table(Alias::new("users")).add_column(&mut shown).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [("participants", "delivered_seq"), ("users", "read_receipts")] {
            let change = Table::alter().table(Alias::new(table)).drop_column(Alias::new(column)).to_owned();
            manager.alter_table(change).await?;
        }
        Ok(())
    }
}
