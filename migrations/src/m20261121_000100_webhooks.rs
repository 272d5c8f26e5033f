//! Webhooks, how far each has got in each conversation, and tests that were asked for.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

fn column(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

fn uuid(name: &'static str) -> ColumnDef {
    column(name).uuid().not_null().take()
}

fn long(name: &'static str) -> ColumnDef {
    column(name).big_integer().not_null().take()
}

fn maybe_long(name: &'static str) -> ColumnDef {
    column(name).big_integer().null().take()
}

fn table(name: &'static str, columns: Vec<ColumnDef>) -> TableCreateStatement {
    let mut table = Table::create().table(Alias::new(name)).to_owned();
    for column in columns {
        table.col(column);
    }
    table
}

fn webhooks() -> TableCreateStatement {
    table(
        "webhooks",
        vec![
            uuid("id").primary_key().take(),
            uuid("reader_id"),
            column("conversation_id").uuid().null().take(),
            column("url").text().not_null().take(),
            column("kinds").text().null().take(),
            column("secret_version").integer().not_null().take(),
            maybe_long("secret_rotated_at"),
            uuid("created_by"),
            long("created_at"),
            maybe_long("paused_at"),
            maybe_long("disabled_at"),
            column("disabled_reason").string().null().take(),
            long("attempts").default(0).take(),
            long("next_attempt_at").default(0).take(),
            maybe_long("failing_since"),
            maybe_long("last_success_at"),
        ],
    )
}

fn cursors() -> TableCreateStatement {
    let columns = vec![
        uuid("webhook_id"),
        uuid("conversation_id"),
        uuid("joined_id"),
        long("next_seq"),
        long("attempts").default(0).take(),
        maybe_long("retry_at"),
        maybe_long("failing_since"),
        maybe_long("stopped_at"),
        column("last_status").integer().null().take(),
        column("last_error").string().null().take(),
        long("last_attempt_at").default(0).take(),
        maybe_long("delivered_at"),
        column("lease_id").uuid().null().take(),
        long("lease_until").default(0).take(),
    ];
    let key = Index::create().col(Alias::new("webhook_id")).col(Alias::new("conversation_id")).primary().to_owned();
    table("webhook_cursors", columns).primary_key(&mut key.clone()).to_owned()
}

fn tests() -> TableCreateStatement {
    table(
        "webhook_tests",
        vec![
            uuid("webhook_id").primary_key().take(),
            uuid("id"),
            long("asked_at"),
            long("lease_until").default(0).take(),
            maybe_long("done_at"),
            column("status").integer().null().take(),
            column("error").string().null().take(),
        ],
    )
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [webhooks(), cursors(), tests()] {
            manager.create_table(table).await?;
        }
        for (name, on, column) in [
            ("webhooks_reader", "webhooks", "reader_id"),
            ("webhooks_conversation", "webhooks", "conversation_id"),
            ("webhook_cursors_retry", "webhook_cursors", "retry_at"),
        ] {
            let index = Index::create().name(name).table(Alias::new(on)).col(Alias::new(column)).to_owned();
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["webhook_tests", "webhook_cursors", "webhooks"] {
            manager.drop_table(Table::drop().table(Alias::new(name)).to_owned()).await?;
        }
        Ok(())
    }
}
