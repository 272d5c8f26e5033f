//! Pictures: bounded work, and the rows.

use std::sync::Arc;

use bytes::Bytes;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, DbErr, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _,
};
use sealpost_schema::entities::{avatar, user};
use sealpost_schema::{ProblemKind, UserId};
use tokio::sync::Semaphore;
use tokio::task;
use uuid::Uuid;

use super::decode::{self, ImageError, Square};
use crate::problem::{ApiError, ApiResult};

pub const MAX_UPLOAD_BYTES: usize = 4 * 1024 * 1024;
/// What the sizes of one picture take together: noise that shines through, the worst that PNG can get.
pub const MAX_STORED_BYTES: usize = 2 * 1024 * 1024;
/// Each takes up to 64 MiB for some tenths of a second.
const AT_WORK: usize = 2;
/// Uploads that are at work or wait, each with its body.
const PLACES: usize = 16;

/// Turns uploads into pictures, a few at once. Cheap to clone.
#[derive(Clone)]
pub struct AvatarWork {
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Default for AvatarWork {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), running: Arc::new(Semaphore::new(AT_WORK)) }
    }
}

impl AvatarWork {
    /// The permits go with the work: a request that is given up frees its place when the work is done, not before.
    pub async fn squares(&self, upload: Bytes) -> ApiResult<Vec<Square>> {
        let busy = || {
            ApiError::new(
                ProblemKind::Unavailable,
                "Too many pictures are being worked on. Nothing was changed; try again.",
            )
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let turn = Arc::clone(&self.running).acquire_owned().await.map_err(|_| busy())?;
        let work = task::spawn_blocking(move || {
            let _permits = (place, turn);
            decode::squares(&upload)
        });
        let squares = work.await.map_err(|error| ApiError::internal(&error))?.map_err(|error| refusal(&error))?;
        if squares.iter().map(|square| square.bytes.len()).sum::<usize>() > MAX_STORED_BYTES {
            return Err(ApiError::invalid("The picture cannot be made small enough. Send another one."));
        }
        Ok(squares)
    }
}

fn refusal(error: &ImageError) -> ApiError {
    let kind = match error {
        ImageError::UnknownFormat => ProblemKind::UnsupportedMediaType,
        ImageError::TooLarge { .. } | ImageError::Damaged => ProblemKind::Invalid,
    };
    ApiError::new(kind, error.to_string())
}

/// Puts a new picture, or none, in place of what the user had. False: the account is gone.
pub async fn replace(
    transaction: &DatabaseTransaction,
    user_id: UserId,
    squares: Option<(Uuid, Vec<Square>)>,
) -> Result<bool, DbErr> {
    // The user's row first: two uploads at once follow each other.
    let change = user::ActiveModel { avatar_id: Set(squares.as_ref().map(|(id, _)| *id)), ..Default::default() };
    let changed = user::Entity::update_many()
        .set(change)
        .filter(user::Column::Id.eq(user_id.0))
        .filter(user::Column::DisabledAt.is_null())
        .exec(transaction)
        .await?;
    if changed.rows_affected == 0 {
        return Ok(false);
    }
    avatar::Entity::delete_many().filter(avatar::Column::UserId.eq(user_id.0)).exec(transaction).await?;
    if let Some((id, squares)) = squares {
        let rows = squares.into_iter().map(|square| {
            let row = avatar::Model {
                id,
                side: i32::try_from(square.side).unwrap_or(i32::MAX),
                user_id: user_id.0,
                content_type: square.content_type.to_owned(),
                image: square.bytes,
            };
            row.into_active_model()
        });
        avatar::Entity::insert_many(rows).exec_without_returning(transaction).await?;
    }
    Ok(true)
}
