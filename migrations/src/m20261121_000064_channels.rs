//! Public channels.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

fn added() -> [ColumnDef; 2] {
    let column = |name: &'static str| ColumnDef::new(Alias::new(name));
    [column("public_name").string().null().take(), column("open_reading").boolean().not_null().default(false).take()]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for mut column in added() {
            let table = Table::alter().table(Alias::new("conversations")).add_column(&mut column).to_owned();
            manager.alter_table(table).await?;
        }
        let mut index = Index::create().name("conversations_public_name").table(Alias::new("conversations")).to_owned();
        manager.create_index(index.col(Alias::new("public_name")).unique().to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_index(Index::drop().name("conversations_public_name").to_owned()).await?;
        for column in added() {
            let name = Alias::new(column.get_column_name());
            manager.alter_table(Table::alter().table(Alias::new("conversations")).drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}
