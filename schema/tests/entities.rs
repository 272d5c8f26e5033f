//! The entities and the migrated schema say the same, on SQLite and on Postgres: every column with its type and whether it may
//! be null, and every unique key.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, EntityTrait, Schema, Statement};
use sealpost_schema::entities::{
    announcement, announcement_mark, api_token, audit, avatar, block, code_failure, conversation, conversation_key,
    draft, event, identity, invitation, invite_link, kept_mail, mail_token, mention, oidc_sign_in, outbox, participant,
    passkey, passkey_ceremony, reaction, recovery_code, retention_mark, scheduled_message, search_message, search_term,
    session, thread, thread_follower, totp, user, waiting_sign_in, webhook, webhook_cursor, webhook_test,
};

/// One line for each column.
async fn columns(db: &DatabaseConnection) -> BTreeSet<String> {
    let query = match db.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable AS line \
             FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'seaql_migrations'"
        }
        _ => {
            "SELECT m.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || c.pk AS line \
             FROM sqlite_master m, pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'seaql_migrations'"
        }
    };
    lines(db, query).await
}

async fn lines(db: &DatabaseConnection, query: &str) -> BTreeSet<String> {
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), query)).await.unwrap();
    rows.iter().map(|row| row.try_get::<String>("", "line").unwrap()).collect()
}

async fn create_from_entities(db: &DatabaseConnection) {
    async fn create<E: EntityTrait>(db: &DatabaseConnection, entity: E) {
        let statement = Schema::new(db.get_database_backend()).create_table_from_entity(entity);
        db.execute(&statement).await.unwrap();
    }
    create(db, user::Entity).await;
    create(db, session::Entity).await;
    create(db, conversation::Entity).await;
    create(db, conversation_key::Entity).await;
    create(db, participant::Entity).await;
    create(db, event::Entity).await;
    create(db, draft::Entity).await;
    create(db, mention::Entity).await;
    create(db, thread::Entity).await;
    create(db, thread_follower::Entity).await;
    create(db, outbox::Entity).await;
    create(db, audit::Entity).await;
    create(db, api_token::Entity).await;
    create(db, invitation::Entity).await;
    create(db, invite_link::Entity).await;
    create(db, announcement::Entity).await;
    create(db, announcement_mark::Entity).await;
    create(db, avatar::Entity).await;
    create(db, block::Entity).await;
    create(db, kept_mail::Entity).await;
    create(db, mail_token::Entity).await;
    create(db, totp::Entity).await;
    create(db, reaction::Entity).await;
    create(db, recovery_code::Entity).await;
    create(db, waiting_sign_in::Entity).await;
    create(db, passkey::Entity).await;
    create(db, passkey_ceremony::Entity).await;
    create(db, code_failure::Entity).await;
    create(db, identity::Entity).await;
    create(db, oidc_sign_in::Entity).await;
    create(db, retention_mark::Entity).await;
    create(db, scheduled_message::Entity).await;
    create(db, search_message::Entity).await;
    create(db, search_term::Entity).await;
    create(db, webhook::Entity).await;
    create(db, webhook_cursor::Entity).await;
    create(db, webhook_test::Entity).await;
}

async fn compare(migrated: &DatabaseConnection, declared: &DatabaseConnection) {
    sealpost_migrations::migrate(migrated).await.unwrap();
    assert!(sealpost_migrations::pending(migrated).await.unwrap().is_empty());
    sealpost_migrations::migrate(migrated).await.expect("a second run changes nothing");
    create_from_entities(declared).await;
    let (migrated, declared) = (columns(migrated).await, columns(declared).await);
    assert!(migrated.len() > 40, "{migrated:?}");
    assert_eq!(migrated, declared);
}

#[tokio::test]
async fn entities_are_what_was_migrated_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| Database::connect(format!("sqlite://{}?mode=rwc", folder.path().join(name).display()));
    let (migrated, declared) = (open("migrated.db").await.unwrap(), open("declared.db").await.unwrap());
    compare(&migrated, &declared).await;
}

#[tokio::test]
async fn entities_are_what_was_migrated_on_postgres() {
    let Ok(admin_url) = std::env::var("SEALPOST_TEST_POSTGRES") else {
        assert!(
            std::env::var_os("CI").is_none(),
            "SEALPOST_TEST_POSTGRES names no server: run under tools/with-services"
        );
        return;
    };
    let admin = Database::connect(&admin_url).await.unwrap();
    let names = ["migrated", "declared"].map(|name| format!("entities_{name}_{}", std::process::id()));
    let (base, _) = admin_url.rsplit_once('/').unwrap();
    let mut databases = Vec::new();
    for name in &names {
        admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        databases.push(Database::connect(format!("{base}/{name}")).await.unwrap());
    }
    let (first, second) = (databases[0].clone(), databases[1].clone());
    let compared = tokio::spawn(async move { compare(&first, &second).await }).await;
    for (name, database) in names.iter().zip(databases) {
        database.close().await.unwrap();
        admin.execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    }
    compared.unwrap();
}
