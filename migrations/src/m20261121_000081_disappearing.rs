//! Messages that disappear, and the keys that go with them.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

fn added() -> [(&'static str, ColumnDef); 6] {
    let column = |name: &'static str| ColumnDef::new(Alias::new(name));
    [
        ("conversations", column("disappear_after").integer().null().take()),
        ("events", column("expires_at").big_integer().null().take()),
        ("conversation_keys", column("purpose").string().not_null().default("lasting").take()),
        ("conversation_keys", column("disappear_after").integer().null().take()),
        ("conversation_keys", column("seals_until").big_integer().null().take()),
        ("conversation_keys", column("expires_at").big_integer().null().take()),
    ]
}

/// Partial: what stays is in neither.
const INDEXES: [(&str, &str, &str); 2] = [
    ("events_expiry", "events", "(expires_at) WHERE expires_at IS NOT NULL AND sealed IS NOT NULL"),
    ("conversation_keys_expiry", "conversation_keys", "(expires_at) WHERE expires_at IS NOT NULL"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, mut column) in added() {
            manager.alter_table(Table::alter().table(Alias::new(table)).add_column(&mut column).to_owned()).await?;
        }
        for (name, table, what) in INDEXES {
            manager.get_connection().execute_unprepared(&format!("CREATE INDEX {name} ON {table} {what}")).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, table, _) in INDEXES {
            manager.drop_index(Index::drop().name(name).table(Alias::new(table)).to_owned()).await?;
        }
        for (table, column) in added() {
            let name = Alias::new(column.get_column_name());
            manager.alter_table(Table::alter().table(Alias::new(table)).drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}
