//! Links that let people join a conversation.

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
        let mut links = Table::create().table(Alias::new("invite_links")).to_owned();
        for column in [
            column("id").uuid().not_null().primary_key().take(),
            column("conversation_id").uuid().not_null().take(),
            ColumnDef::new_with_type(Alias::new("token_hash"), ColumnType::VarBinary(StringLen::None))
                .not_null()
                .take(),
            column("role").string().not_null().take(),
            column("created_by").uuid().not_null().take(),
            column("created_at").big_integer().not_null().take(),
            column("expires_at").big_integer().not_null().take(),
            column("max_uses").big_integer().not_null().take(),
            column("uses").big_integer().not_null().default(0).take(),
            column("revoked_at").big_integer().null().take(),
        ] {
            links.col(column);
        }
        manager.create_table(links).await?;
        let index = |name: &str| Index::create().name(name).table(Alias::new("invite_links")).to_owned();
        manager
            .create_index(index("invite_links_token_hash").col(Alias::new("token_hash")).unique().to_owned())
            .await?;
        manager.create_index(index("invite_links_conversation").col(Alias::new("conversation_id")).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("invite_links")).to_owned()).await
    }
}
