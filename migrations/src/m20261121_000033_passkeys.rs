//! Passkeys, what is begun with them, and wrong codes counted by user instead of by app.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

fn column(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

fn bytes(name: &'static str) -> ColumnDef {
    ColumnDef::new_with_type(Alias::new(name), ColumnType::VarBinary(StringLen::None))
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
        let passkeys = vec![
            column("id").uuid().not_null().primary_key().take(),
            column("user_id").uuid().not_null().take(),
            bytes("credential_id").not_null().unique_key().take(),
            column("name").string().not_null().take(),
            column("passkey").text().not_null().take(),
            column("counter").big_integer().not_null().take(),
            column("created_at").big_integer().not_null().take(),
            column("last_used_at").big_integer().null().take(),
        ];
        manager.create_table(table("passkeys", passkeys)).await?;
        let ceremonies = vec![
            bytes("hash").not_null().primary_key().take(),
            column("user_id").uuid().null().take(),
            column("kind").string().not_null().take(),
            column("state").text().not_null().take(),
            column("expires_at").big_integer().not_null().take(),
        ];
        manager.create_table(table("passkey_ceremonies", ceremonies)).await?;
        let failures = vec![
            column("user_id").uuid().not_null().primary_key().take(),
            column("failures").integer().not_null().take(),
            column("last_failure_at").big_integer().not_null().take(),
        ];
        manager.create_table(table("code_failures", failures)).await?;
        for (table, by) in
            [("passkeys", "user_id"), ("passkey_ceremonies", "user_id"), ("passkey_ceremonies", "expires_at")]
        {
            let mut index = Index::create().name(format!("{table}_{by}")).table(Alias::new(table)).to_owned();
            manager.create_index(index.col(Alias::new(by)).to_owned()).await?;
        }
        let mut confirmed = column("confirmed_at").big_integer().null().take();
        manager.alter_table(Table::alter().table(Alias::new("totp")).add_column(&mut confirmed).to_owned()).await?;
        let since = "UPDATE totp SET confirmed_at = (SELECT second_factor_at FROM users WHERE users.id = totp.user_id)";
        manager.get_connection().execute_unprepared(since).await?;
        for name in ["failures", "last_failure_at"] {
            let table = Table::alter().table(Alias::new("totp")).drop_column(Alias::new(name)).to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["code_failures", "passkey_ceremonies", "passkeys"] {
            manager.drop_table(Table::drop().table(Alias::new(table)).to_owned()).await?;
        }
        let table = Table::alter().table(Alias::new("totp")).drop_column(Alias::new("confirmed_at")).to_owned();
        manager.alter_table(table).await?;
        for mut added in [
            column("failures").integer().not_null().default(0).take(),
            column("last_failure_at").big_integer().not_null().default(0).take(),
        ] {
            manager.alter_table(Table::alter().table(Alias::new("totp")).add_column(&mut added).to_owned()).await?;
        }
        Ok(())
    }
}
