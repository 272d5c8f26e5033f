//! What messages have to do with each other and with people: threads and mentions.

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

fn table(name: &'static str, columns: Vec<ColumnDef>, key: &[&'static str]) -> TableCreateStatement {
    let mut table = Table::create().table(Alias::new(name)).to_owned();
    for column in columns {
        table.col(column);
    }
    let mut primary = Index::create();
    for name in key {
        primary.col(Alias::new(*name));
    }
    table.primary_key(&mut primary).to_owned()
}

fn index(name: &'static str, on: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create().name(name).table(Alias::new(on)).to_owned();
    for column in columns {
        index.col(Alias::new(*column));
    }
    index
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut thread = column("thread_id").uuid().null().take();
        manager.alter_table(Table::alter().table(Alias::new("events")).add_column(&mut thread).to_owned()).await?;
        let db = manager.get_connection();
        db.execute_unprepared("CREATE INDEX events_thread ON events (thread_id, seq) WHERE thread_id IS NOT NULL")
            .await?;
        let follower = vec![
            uuid("user_id"),
            uuid("root_id"),
            uuid("conversation_id"),
            column("following").boolean().not_null().take(),
            long("read_seq"),
        ];
        let mention =
            vec![uuid("message_id"), uuid("user_id"), uuid("conversation_id"), long("seq"), uuid("sender_id")];
        for table in [
            table("threads", vec![uuid("root_id"), uuid("conversation_id"), long("last_seq")], &["root_id"]),
            table("thread_followers", follower, &["user_id", "root_id"]),
            table("mentions", mention, &["message_id", "user_id"]),
        ] {
            manager.create_table(table).await?;
        }
        for index in [
            index("threads_last", "threads", &["conversation_id", "last_seq"]),
            index("thread_followers_root", "thread_followers", &["root_id"]),
            index("mentions_user", "mentions", &["user_id", "message_id"]),
            index("mentions_conversation", "mentions", &["conversation_id", "user_id", "seq"]),
        ] {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["mentions", "thread_followers", "threads"] {
            manager.drop_table(Table::drop().table(Alias::new(name)).to_owned()).await?;
        }
        manager.drop_index(Index::drop().name("events_thread").table(Alias::new("events")).to_owned()).await?;
        let table = Table::alter().table(Alias::new("events")).drop_column(Alias::new("thread_id")).to_owned();
        manager.alter_table(table).await
    }
}
