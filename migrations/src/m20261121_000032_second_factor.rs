//! One-time codes, recovery codes, and sign-ins that wait for one.

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
        let mut since = column("second_factor_at").big_integer().null().take();
        manager.alter_table(Table::alter().table(Alias::new("users")).add_column(&mut since).to_owned()).await?;
        let totp = vec![
            column("user_id").uuid().not_null().primary_key().take(),
            column("wrapped").text().not_null().take(),
            column("sealed").text().not_null().take(),
            column("last_step").big_integer().not_null().take(),
            column("failures").integer().not_null().take(),
            column("last_failure_at").big_integer().not_null().take(),
        ];
        manager.create_table(table("totp", totp)).await?;
        let codes = vec![bytes("hash").not_null().primary_key().take(), column("user_id").uuid().not_null().take()];
        manager.create_table(table("recovery_codes", codes)).await?;
        let waiting = vec![
            bytes("hash").not_null().primary_key().take(),
            column("user_id").uuid().not_null().take(),
            column("password_hash").string().not_null().take(),
            column("method").string().not_null().take(),
            column("device_name").string().null().take(),
            column("device_kind").string().not_null().take(),
            column("expires_at").big_integer().not_null().take(),
        ];
        manager.create_table(table("waiting_sign_ins", waiting)).await?;
        for (table, by) in
            [("recovery_codes", "user_id"), ("waiting_sign_ins", "user_id"), ("waiting_sign_ins", "expires_at")]
        {
            let mut index = Index::create().name(format!("{table}_{by}")).table(Alias::new(table)).to_owned();
            manager.create_index(index.col(Alias::new(by)).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["waiting_sign_ins", "recovery_codes", "totp"] {
            manager.drop_table(Table::drop().table(Alias::new(table)).to_owned()).await?;
        }
        let table = Table::alter().table(Alias::new("users")).drop_column(Alias::new("second_factor_at")).to_owned();
        manager.alter_table(table).await
    }
}
