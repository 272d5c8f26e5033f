//! Mails that waited when a gateway stopped.

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
        let mut kept = Table::create().table(Alias::new("kept_mails")).to_owned();
        for column in [
            column("id").uuid().not_null().primary_key().take(),
            column("job").text().not_null().take(),
            column("kept_at").big_integer().not_null().take(),
        ] {
            kept.col(column);
        }
        manager.create_table(kept).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("kept_mails")).to_owned()).await
    }
}
