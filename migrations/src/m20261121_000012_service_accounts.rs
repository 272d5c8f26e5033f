//! Service accounts and their API tokens.

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
        for mut added in
            [column("kind").string().not_null().default("person").take(), column("owner_id").uuid().null().take()]
        {
            let users = Table::alter().table(Alias::new("users")).add_column(&mut added).to_owned();
            manager.alter_table(users).await?;
        }
        let columns = [
            column("id").uuid().not_null().primary_key().take(),
            column("user_id").uuid().not_null().take(),
            column("name").string().not_null().take(),
            ColumnDef::new_with_type(Alias::new("secret_hash"), ColumnType::VarBinary(StringLen::None))
                .not_null()
                .take(),
            column("scopes").string().not_null().take(),
            column("conversations").text().null().take(),
            column("created_by").uuid().not_null().take(),
            column("created_at").big_integer().not_null().take(),
            column("expires_at").big_integer().not_null().take(),
            column("last_used_at").big_integer().null().take(),
            column("revoked_at").big_integer().null().take(),
            column("changed_at").big_integer().not_null().take(),
        ];
        let mut table = Table::create().table(Alias::new("api_tokens")).to_owned();
        for column in columns {
            table.col(column);
        }
        manager.create_table(table).await?;
        for (name, on, column) in [
            ("api_tokens_user", "api_tokens", "user_id"),
            ("api_tokens_changed_at", "api_tokens", "changed_at"),
            ("users_owner", "users", "owner_id"),
        ] {
            let index = Index::create().name(name).table(Alias::new(on)).col(Alias::new(column)).to_owned();
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("api_tokens")).to_owned()).await?;
        manager.drop_index(Index::drop().name("users_owner").table(Alias::new("users")).to_owned()).await?;
        for name in ["kind", "owner_id"] {
            let users = Table::alter().table(Alias::new("users")).drop_column(Alias::new(name)).to_owned();
            manager.alter_table(users).await?;
        }
        Ok(())
    }
}
