//! Profiles: status, time zone, language, avatar.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

fn column(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

fn bytes(name: &'static str) -> ColumnDef {
    ColumnDef::new_with_type(Alias::new(name), ColumnType::VarBinary(StringLen::None))
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column in a statement.
        for mut added in [
            column("status_text").string().null().take(),
            column("time_zone").string().null().take(),
            column("language").string().null().take(),
            column("avatar_id").uuid().null().take(),
        ] {
            manager.alter_table(Table::alter().table(Alias::new("users")).add_column(&mut added).to_owned()).await?;
        }
        let mut avatars = Table::create().table(Alias::new("avatars")).to_owned();
        for column in [
            column("id").uuid().not_null().take(),
            column("side").integer().not_null().take(),
            column("user_id").uuid().not_null().take(),
            column("content_type").string().not_null().take(),
            bytes("image").not_null().take(),
        ] {
            avatars.col(column);
        }
        avatars.primary_key(Index::create().col(Alias::new("id")).col(Alias::new("side")));
        manager.create_table(avatars).await?;
        let mut by_user = Index::create().name("avatars_user").table(Alias::new("avatars")).to_owned();
        manager.create_index(by_user.col(Alias::new("user_id")).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("avatars")).to_owned()).await?;
        for name in ["status_text", "time_zone", "language", "avatar_id"] {
            let table = Table::alter().table(Alias::new("users")).drop_column(Alias::new(name)).to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}
