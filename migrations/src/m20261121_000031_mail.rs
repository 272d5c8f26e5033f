//! Proven addresses, and links in mails.

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
        let mut verified = column("email_verified_at").big_integer().null().take();
        manager.alter_table(Table::alter().table(Alias::new("users")).add_column(&mut verified).to_owned()).await?;
        let mut tokens = Table::create().table(Alias::new("mail_tokens")).to_owned();
        for column in [
            bytes("hash").not_null().primary_key().take(),
            column("user_id").uuid().not_null().take(),
            column("purpose").string().not_null().take(),
            column("email").string().not_null().take(),
            column("expires_at").big_integer().not_null().take(),
        ] {
            tokens.col(column);
        }
        manager.create_table(tokens).await?;
        for (name, by) in [("mail_tokens_user", "user_id"), ("mail_tokens_expires_at", "expires_at")] {
            let mut index = Index::create().name(name).table(Alias::new("mail_tokens")).to_owned();
            manager.create_index(index.col(Alias::new(by)).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("mail_tokens")).to_owned()).await?;
        let table = Table::alter().table(Alias::new("users")).drop_column(Alias::new("email_verified_at")).to_owned();
        manager.alter_table(table).await
    }
}
