//! Users, sessions, conversations, their keys, participants and events, and the outbox.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

fn uuid(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).uuid().not_null().take()
}

fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).text().not_null().take()
}

fn string(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).string().not_null().take()
}

fn long(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).big_integer().not_null().take()
}

fn table(name: &'static str, columns: Vec<ColumnDef>) -> TableCreateStatement {
    let mut table = Table::create().table(Alias::new(name)).to_owned();
    for column in columns {
        table.col(column);
    }
    table
}

fn key(names: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create();
    for name in names {
        index.col(Alias::new(*name));
    }
    index.primary().to_owned()
}

fn index(name: &'static str, on: &'static str, columns: &[&'static str], unique: bool) -> IndexCreateStatement {
    let mut index = Index::create().name(name).table(Alias::new(on)).to_owned();
    for column in columns {
        index.col(Alias::new(*column));
    }
    if unique {
        index.unique();
    }
    index
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in people().into_iter().chain(conversations()) {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["outbox", "events", "participants", "conversation_keys", "conversations", "sessions", "users"] {
            manager.drop_table(Table::drop().table(Alias::new(name)).to_owned()).await?;
        }
        Ok(())
    }
}

fn null(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

fn bytes(name: &'static str) -> ColumnDef {
    ColumnDef::new_with_type(Alias::new(name), ColumnType::VarBinary(StringLen::None))
}

fn people() -> [TableCreateStatement; 2] {
    [
        table(
            "users",
            vec![
                uuid("id").primary_key().take(),
                string("username"),
                string("display_name"),
                null("email").string().null().take(),
                string("password_hash"),
                long("created_at"),
                null("disabled_at").big_integer().null().take(),
            ],
        ),
        table(
            "sessions",
            vec![
                uuid("id").primary_key().take(),
                uuid("user_id"),
                bytes("refresh_hash").not_null().take(),
                bytes("previous_hash").null().take(),
                long("rotated_at"),
                long("created_at"),
                long("expires_at"),
                null("ended_at").big_integer().null().take(),
                null("user_agent").string().null().take(),
            ],
        ),
    ]
}

fn conversations() -> [TableCreateStatement; 5] {
    let with_key =
        |mut table: TableCreateStatement, names: &[&'static str]| table.primary_key(&mut key(names)).to_owned();
    let conversations = vec![
        uuid("id").primary_key().take(),
        string("kind"),
        null("dm_key").string().null().take(),
        null("sealed_title").text().null().take(),
        null("title_event_id").uuid().null().take(),
        null("title_sender_id").uuid().null().take(),
        uuid("created_by"),
        long("created_at"),
        null("deleted_at").big_integer().null().take(),
    ];
    let generation = null("generation").integer().not_null().take();
    let keys = vec![uuid("conversation_id"), generation, text("wrapped"), long("created_at")];
    let read_seq = long("read_seq").default(0).take();
    let participants = vec![uuid("conversation_id"), uuid("user_id"), string("role"), long("added_at"), read_seq];
    let events = vec![
        uuid("conversation_id"),
        long("seq"),
        uuid("id"),
        string("kind"),
        uuid("sender_id"),
        long("created_at"),
        null("client_message_id").string().null().take(),
        null("sealed").text().null().take(),
        null("data").text().null().take(),
        null("deleted_seq").big_integer().null().take(),
    ];
    let outbox = vec![
        uuid("id").primary_key().take(),
        uuid("conversation_id"),
        uuid("sender_id"),
        text("body"),
        long("created_at"),
    ];
    [
        table("conversations", conversations),
        with_key(table("conversation_keys", keys), &["conversation_id", "generation"]),
        with_key(table("participants", participants), &["conversation_id", "user_id"]),
        with_key(table("events", events), &["conversation_id", "seq"]),
        table("outbox", outbox),
    ]
}

fn indexes() -> [IndexCreateStatement; 10] {
    [
        index("users_username", "users", &["username"], true),
        index("users_email", "users", &["email"], true),
        index("sessions_refresh_hash", "sessions", &["refresh_hash"], true),
        index("sessions_previous_hash", "sessions", &["previous_hash"], false),
        index("sessions_user", "sessions", &["user_id"], false),
        index("conversations_dm_key", "conversations", &["dm_key"], true),
        index("participants_user", "participants", &["user_id"], false),
        index("events_id", "events", &["id"], true),
        index("events_client_message", "events", &["conversation_id", "sender_id", "client_message_id"], true),
        index("outbox_conversation", "outbox", &["conversation_id"], false),
    ]
}
