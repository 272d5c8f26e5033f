//! The database schema, the same code on SQLite and Postgres.
//!
//! Migrations import no entity: an old one keeps meaning what it meant. They expand first and contract in a later release.
//! [`migrate`] is safe to call from many processes at once.

mod m20261121_000001_core;
mod m20261121_000010_devices;
mod m20261121_000011_invitations;
mod m20261121_000012_service_accounts;
mod m20261121_000030_profiles;
mod m20261121_000031_mail;
mod m20261121_000032_second_factor;
mod m20261121_000033_passkeys;
mod m20261121_000034_identities;
mod m20261121_000050_changes;
mod m20261121_000051_links;
mod m20261121_000053_drafts;
mod m20261121_000060_rights;
mod m20261121_000061_history;
mod m20261121_000062_invite_links;
mod m20261121_000063_own_state;
mod m20261121_000064_channels;
mod m20261121_000065_announcements;
mod m20261121_000070_receipts;
mod m20261121_000080_scheduled;
mod m20261121_000081_disappearing;
mod m20261121_000082_retention;
mod m20261121_000090_search;
mod m20261121_000100_webhooks;
mod m20261121_000110_kept_mails;

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, TransactionTrait};

pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_core::Migration),
            Box::new(m20261121_000010_devices::Migration),
            Box::new(m20261121_000011_invitations::Migration),
            Box::new(m20261121_000012_service_accounts::Migration),
            Box::new(m20261121_000030_profiles::Migration),
            Box::new(m20261121_000031_mail::Migration),
            Box::new(m20261121_000032_second_factor::Migration),
            Box::new(m20261121_000033_passkeys::Migration),
            Box::new(m20261121_000034_identities::Migration),
            Box::new(m20261121_000050_changes::Migration),
            Box::new(m20261121_000051_links::Migration),
            Box::new(m20261121_000053_drafts::Migration),
            Box::new(m20261121_000060_rights::Migration),
            Box::new(m20261121_000061_history::Migration),
            Box::new(m20261121_000062_invite_links::Migration),
            Box::new(m20261121_000063_own_state::Migration),
            Box::new(m20261121_000064_channels::Migration),
            Box::new(m20261121_000065_announcements::Migration),
            Box::new(m20261121_000070_receipts::Migration),
            Box::new(m20261121_000080_scheduled::Migration),
            Box::new(m20261121_000081_disappearing::Migration),
            Box::new(m20261121_000082_retention::Migration),
            Box::new(m20261121_000090_search::Migration),
            Box::new(m20261121_000100_webhooks::Migration),
            Box::new(m20261121_000110_kept_mails::Migration),
        ]
    }
}

/// Held by the one process that migrates; the migrator itself takes no lock. Any constant will do.
const ADVISORY_LOCK: i64 = 0x5EA1_9057;

/// Brings the database up to date in one transaction: all or nothing.
///
/// # Errors
/// What the database says.
pub async fn migrate(db: &DatabaseConnection) -> Result<(), DbErr> {
    match db.get_database_backend() {
        DbBackend::Postgres => {
            let transaction = db.begin().await?;
            transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")).await?;
            Migrator::up(&transaction, None).await?;
            transaction.commit().await
        }
        // SQLite belongs to one process; each migration has its own transaction.
        _ => Migrator::up(db, None).await,
    }
}

/// Names of migrations that this program has and the database has not.
///
/// # Errors
/// What the database says.
pub async fn pending(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let pending = Migrator::get_pending_migrations(db).await?;
    Ok(pending.iter().map(|migration| migration.name().to_owned()).collect())
}
