//! Accounts at sign-in providers, and sign-ins that are on their way through one.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

fn column(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

fn table(name: &'static str, columns: Vec<ColumnDef>) -> TableCreateStatement {
    let mut table = Table::create().table(Alias::new(name)).to_owned();
    for column in columns {
        table.col(column);
    }
    table
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let identities = vec![
            column("id").uuid().not_null().primary_key().take(),
            column("user_id").uuid().not_null().take(),
            column("provider").string().not_null().take(),
            column("issuer").string().not_null().take(),
            column("subject").string().not_null().take(),
            column("created_at").big_integer().not_null().take(),
            column("last_used_at").big_integer().null().take(),
        ];
        manager.create_table(table("identities", identities)).await?;
        let waiting = vec![
            ColumnDef::new_with_type(Alias::new("hash"), ColumnType::VarBinary(StringLen::None))
                .not_null()
                .primary_key()
                .take(),
            column("provider").string().not_null().take(),
            column("user_id").uuid().null().take(),
            column("session_id").uuid().null().take(),
            column("device_name").string().null().take(),
            column("device_kind").string().not_null().take(),
            column("expires_at").big_integer().not_null().take(),
        ];
        manager.create_table(table("oidc_sign_ins", waiting)).await?;
        let mut unique = Index::create().name("identities_issuer_subject").table(Alias::new("identities")).to_owned();
        unique.col(Alias::new("issuer")).col(Alias::new("subject")).unique();
        manager.create_index(unique).await?;
        for (table, by) in [("identities", "user_id"), ("oidc_sign_ins", "expires_at")] {
            let mut index = Index::create().name(format!("{table}_{by}")).table(Alias::new(table)).to_owned();
            manager.create_index(index.col(Alias::new(by)).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["oidc_sign_ins", "identities"] {
            manager.drop_table(Table::drop().table(Alias::new(table)).to_owned()).await?;
        }
        Ok(())
    }
}
