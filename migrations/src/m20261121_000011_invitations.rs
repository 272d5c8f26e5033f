//! Invitations to sign up.

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
        let columns = [
            column("id").uuid().not_null().primary_key().take(),
            ColumnDef::new_with_type(Alias::new("code_hash"), ColumnType::VarBinary(StringLen::None)).not_null().take(),
            column("created_by").uuid().null().take(),
            column("created_at").big_integer().not_null().take(),
            column("expires_at").big_integer().not_null().take(),
            column("max_uses").big_integer().not_null().take(),
            column("uses").big_integer().not_null().default(0).take(),
            column("revoked_at").big_integer().null().take(),
        ];
        let mut table = Table::create().table(Alias::new("invitations")).to_owned();
        for column in columns {
            table.col(column);
        }
        manager.create_table(table).await?;
        let index = Index::create().name("invitations_code_hash").table(Alias::new("invitations")).to_owned();
        manager.create_index(index.clone().col(Alias::new("code_hash")).unique().take()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("invitations")).to_owned()).await
    }
}
