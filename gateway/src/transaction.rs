//! Transactions of handlers.

use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
};

use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// A transaction that may read and then write. SQLite needs to know that at the start.
pub async fn begin(app: &App) -> ApiResult<DatabaseTransaction> {
    begin_on(&app.db).await.map_err(|error| ApiError::store(&error))
}

/// The same for those who have no gateway.
pub async fn begin_on(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    db.begin_with_options(options).await
}

pub async fn commit(transaction: DatabaseTransaction) -> ApiResult<()> {
    transaction.commit().await.map_err(|error| ApiError::store(&error))
}
