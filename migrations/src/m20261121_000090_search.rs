//! The search index: keyed hashes of words, and per message which of them it has. No word stands here.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

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
        let db = manager.get_connection();
        // The rows are nothing but their key: SQLite keeps them once, in the key's tree.
        let (number, keyed) = match db.get_database_backend() {
            DbBackend::Sqlite => ("integer", " WITHOUT ROWID"),
            _ => ("bigint", ""),
        };
        db.execute_unprepared(&format!(
            "CREATE TABLE search_terms (term {number} NOT NULL, at {number} NOT NULL, PRIMARY KEY (term, at)){keyed}"
        ))
        .await?;
        let messages = Table::create()
            .table(Alias::new("search_messages"))
            .col(column("message_id").uuid().not_null().primary_key())
            .col(column("conversation_id").uuid().not_null())
            .col(column("at").big_integer().not_null())
            .col(ColumnDef::new_with_type(Alias::new("terms"), ColumnType::VarBinary(StringLen::None)).not_null())
            .to_owned();
        manager.create_table(messages).await?;
        let of_conversation = Index::create()
            .name("search_messages_conversation")
            .table(Alias::new("search_messages"))
            .col(Alias::new("conversation_id"))
            .to_owned();
        manager.create_index(of_conversation).await?;
        // Those whose rows are to go, without a look at all the others.
        db.execute_unprepared("CREATE INDEX conversations_deleted ON conversations (id) WHERE deleted_at IS NOT NULL")
            .await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = Index::drop().name("conversations_deleted").table(Alias::new("conversations")).to_owned();
        manager.drop_index(index).await?;
        for name in ["search_messages", "search_terms"] {
            manager.drop_table(Table::drop().table(Alias::new(name)).to_owned()).await?;
        }
        Ok(())
    }
}
