//! Pages of lists: how they are cut, and what they are searched by.

use sea_orm::sea_query::LikeExpr;

use crate::problem::{ApiError, ApiResult};

/// Not the usual backslash: the databases differ in how it is written in a statement.
const ESCAPE: char = '!';

/// A page has 1 to `most` rows.
pub fn check_limit(limit: u64, most: u64) -> ApiResult<()> {
    if (1..=most).contains(&limit) {
        return Ok(());
    }
    Err(ApiError::invalid(format!("limit is {limit}: use 1 to {most}.")))
}

/// Cuts what was asked for with one row more than `limit` down to it. True: there is more.
pub fn cut<T>(rows: &mut Vec<T>, limit: u64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    has_more
}

/// Everything that begins with this text, whose wildcards stand for themselves.
pub fn beginning_with(begin: &str) -> LikeExpr {
    let mut pattern = String::with_capacity(begin.len() + 1);
    for character in begin.chars() {
        if matches!(character, '%' | '_' | ESCAPE) {
            pattern.push(ESCAPE);
        }
        pattern.push(character);
    }
    pattern.push('%');
    LikeExpr::new(pattern).escape(ESCAPE)
}
