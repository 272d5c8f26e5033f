//! Messages that are to be sent at a time.

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
        let mut scheduled = Table::create().table(Alias::new("scheduled_messages")).to_owned();
        for column in [
            column("id").uuid().not_null().primary_key().take(),
            column("user_id").uuid().not_null().take(),
            column("conversation_id").uuid().not_null().take(),
            column("client_message_id").string().not_null().take(),
            column("sealed").text().not_null().take(),
            column("key_generation").integer().not_null().take(),
            column("links").text().null().take(),
            column("send_at").big_integer().not_null().take(),
            column("state").string().not_null().take(),
            column("failure").string().null().take(),
            column("claimed_at").big_integer().null().take(),
            column("created_at").big_integer().not_null().take(),
        ] {
            scheduled.col(column);
        }
        manager.create_table(scheduled).await?;
        let index = |name: &str, unique: bool, columns: &[&'static str]| {
            let mut index = Index::create().name(name).table(Alias::new("scheduled_messages")).to_owned();
            for column in columns {
                index.col(Alias::new(*column));
            }
            if unique { index.unique().to_owned() } else { index }
        };
        manager.create_index(index("scheduled_due", false, &["state", "send_at"])).await?;
        let name = ["user_id", "conversation_id", "client_message_id"];
        manager.create_index(index("scheduled_name", true, &name)).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("scheduled_messages")).to_owned()).await
    }
}
