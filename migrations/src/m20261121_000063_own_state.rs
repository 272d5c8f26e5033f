//! What a user keeps about a conversation for themselves, and whom they block.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

fn column(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

fn added() -> [ColumnDef; 4] {
    [
        column("muted_until").big_integer().null().take(),
        column("archived_at").big_integer().null().take(),
        column("hidden_seq").big_integer().null().take(),
        column("shut_by").uuid().null().take(),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column in a statement.
        for mut column in added() {
            let table = Table::alter().table(Alias::new("participants")).add_column(&mut column).to_owned();
            manager.alter_table(table).await?;
        }
        let mut blocks = Table::create().table(Alias::new("blocks")).to_owned();
        for column in [
            column("user_id").uuid().not_null().take(),
            column("blocked_id").uuid().not_null().take(),
            column("created_at").big_integer().not_null().take(),
        ] {
            blocks.col(column);
        }
        blocks.primary_key(Index::create().col(Alias::new("user_id")).col(Alias::new("blocked_id")));
        manager.create_table(blocks).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("blocks")).to_owned()).await?;
        for column in added() {
            let name = Alias::new(column.get_column_name());
            manager.alter_table(Table::alter().table(Alias::new("participants")).drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}
