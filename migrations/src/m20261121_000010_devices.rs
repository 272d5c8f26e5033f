//! Sessions as devices, the role of a user on this server, and the audit log.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// SQLite adds one column in a statement.
async fn add(manager: &SchemaManager<'_>, table: &'static str, columns: Vec<ColumnDef>) -> Result<(), DbErr> {
    for mut column in columns {
        let table = Table::alter().table(Alias::new(table)).add_column(&mut column).to_owned();
        manager.alter_table(table).await?;
    }
    Ok(())
}

fn column(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
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
        add(manager, "users", vec![column("role").string().not_null().default("user").take()]).await?;
        let sessions = vec![
            column("name").string().null().take(),
            column("kind").string().not_null().default("device").take(),
            column("address").string().null().take(),
            column("last_seen_at").big_integer().not_null().default(0).take(),
            column("idle_seconds").big_integer().not_null().default(2_592_000).take(),
        ];
        add(manager, "sessions", sessions).await?;
        let connection = manager.get_connection();
        connection.execute_unprepared("UPDATE sessions SET last_seen_at = rotated_at").await?;
        manager.create_index(index("sessions_ended_at", "sessions", &["ended_at"])).await?;
        manager.create_table(audit()).await?;
        for (name, by) in [("audit_user", "user_id"), ("audit_actor", "actor_id"), ("audit_action", "action")] {
            manager.create_index(index(name, "audit", &[by, "id"])).await?;
        }
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        connection.execute_unprepared(if postgres { KEEP_POSTGRES } else { KEEP_SQLITE }).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("audit")).to_owned()).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            manager.get_connection().execute_unprepared("DROP FUNCTION audit_keep").await?;
        }
        manager.drop_index(Index::drop().name("sessions_ended_at").table(Alias::new("sessions")).to_owned()).await?;
        for (table, names) in
            [("sessions", &["name", "kind", "address", "last_seen_at", "idle_seconds"][..]), ("users", &["role"][..])]
        {
            for name in names {
                let table = Table::alter().table(Alias::new(table)).drop_column(Alias::new(*name)).to_owned();
                manager.alter_table(table).await?;
            }
        }
        Ok(())
    }
}

fn audit() -> TableCreateStatement {
    let columns = [
        column("id").uuid().not_null().primary_key().take(),
        column("at").big_integer().not_null().take(),
        column("action").string().not_null().take(),
        column("actor_id").uuid().null().take(),
        column("user_id").uuid().null().take(),
        column("session_id").uuid().null().take(),
        column("address").string().null().take(),
        column("user_agent").string().null().take(),
        column("details").text().not_null().take(),
    ];
    let mut table = Table::create().table(Alias::new("audit")).to_owned();
    for column in columns {
        table.col(column);
    }
    table
}

/// What was recorded stays as it was. Rows leave by their age alone.
const KEEP_SQLITE: &str = "CREATE TRIGGER audit_keep BEFORE UPDATE ON audit \
     BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END";

const KEEP_POSTGRES: &str = "CREATE FUNCTION audit_keep() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$; \
     CREATE TRIGGER audit_keep BEFORE UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION audit_keep();";
