//! Transactions of handlers.

use sea_orm::{DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait as _};

use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// A transaction that may read and then write. SQLite needs to know that at the start.
pub async fn begin(app: &App) -> ApiResult<DatabaseTransaction> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    app.db.begin_with_options(options).await.map_err(|error| ApiError::store(&error))
}

pub async fn commit(transaction: DatabaseTransaction) -> ApiResult<()> {
    transaction.commit().await.map_err(|error| ApiError::store(&error))
}
