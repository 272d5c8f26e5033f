//! Changes of messages: edits, reactions, pins.

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
        // SQLite adds one column in a statement.
        for mut added in [
            column("target_id").uuid().null().take(),
            column("edited_seq").big_integer().null().take(),
            column("pinned_seq").big_integer().null().take(),
            column("marks").integer().null().take(),
        ] {
            manager.alter_table(Table::alter().table(Alias::new("events")).add_column(&mut added).to_owned()).await?;
        }
        // Partial: a message that nothing is known about but its text, which is nearly every one, is in neither.
        let db = manager.get_connection();
        db.execute_unprepared("CREATE INDEX events_target ON events (target_id, seq) WHERE target_id IS NOT NULL")
            .await?;
        db.execute_unprepared(
            "CREATE INDEX events_pinned ON events (conversation_id, pinned_seq) WHERE pinned_seq IS NOT NULL",
        )
        .await?;
        let mut reactions = Table::create().table(Alias::new("reactions")).to_owned();
        for column in [
            column("message_id").uuid().not_null().take(),
            column("reaction").uuid().not_null().take(),
            column("user_id").uuid().not_null().take(),
            column("conversation_id").uuid().not_null().take(),
            column("seq").big_integer().not_null().take(),
            column("event_id").uuid().not_null().take(),
            column("added").boolean().not_null().take(),
            column("sealed").text().not_null().take(),
        ] {
            reactions.col(column);
        }
        let mut key = Index::create();
        for name in ["message_id", "reaction", "user_id"] {
            key.col(Alias::new(name));
        }
        manager.create_table(reactions.primary_key(&mut key).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("reactions")).to_owned()).await?;
        for name in ["events_pinned", "events_target"] {
            manager.drop_index(Index::drop().name(name).table(Alias::new("events")).to_owned()).await?;
        }
        for name in ["marks", "pinned_seq", "edited_seq", "target_id"] {
            let table = Table::alter().table(Alias::new("events")).drop_column(Alias::new(name)).to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}
