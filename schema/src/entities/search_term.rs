//! The search index: which terms stand where. A term is 64 bits of a keyed hash, made under a key of its conversation, so it names the
//! conversation too; a place says when and as which event the message was sent.
//!
//! Two terms of different conversations are the same once in 2^64: then both share rows, and what is found is checked against the text
//! anyway.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ArrayType, Value};
use sea_orm::{DbBackend, Statement};

use super::search_message;
use crate::{Seq, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "search_terms")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub term: i64,
    /// [`place`] of the message.
    #[sea_orm(primary_key, auto_increment = false)]
    pub at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The lower bits of a place are the seq.
const SEQ_BITS: u32 = 31;
/// Picks the seq out of a place.
pub const SEQ_MASK: i64 = (1 << SEQ_BITS) - 1;
const MAX_SECONDS: u64 = u32::MAX as u64;

/// Where a message stands: the second in which it was sent, above its seq. So places of all conversations are in the order of time, and
/// none is used twice in one. `None`: its seq is beyond 2^31, and it is not indexed.
pub fn place(created_at: Timestamp, seq: Seq) -> Option<i64> {
    let seq = seq.to_db();
    (seq <= SEQ_MASK).then(|| first_place(created_at) | seq)
}

/// The first place of a second.
pub fn first_place(moment: Timestamp) -> i64 {
    i64::try_from(moment.unix_seconds().min(MAX_SECONDS) << SEQ_BITS).unwrap_or(i64::MAX)
}

/// The first place after a second.
pub fn next_place(moment: Timestamp) -> i64 {
    i64::try_from((moment.unix_seconds().min(MAX_SECONDS) + 1) << SEQ_BITS).unwrap_or(i64::MAX)
}

pub fn seq_of(place: i64) -> Seq {
    Seq::from_db(place & SEQ_MASK)
}

/// Rows of one statement.
const ROWS: usize = 10_000;

/// Adds rows; those that are there stay.
pub async fn insert(db: &impl ConnectionTrait, rows: &[(i64, i64)]) -> Result<(), DbErr> {
    const POSTGRES: &str = "INSERT INTO search_terms (term, at) \
        SELECT * FROM UNNEST($1::bigint[], $2::bigint[]) ON CONFLICT DO NOTHING";
    const SQLITE: &str = "INSERT INTO search_terms (term, at) \
        SELECT value->>0, value->>1 FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING";
    write(db, rows, POSTGRES, SQLITE).await
}

/// Removes rows, as far as they are there.
pub async fn remove(db: &impl ConnectionTrait, rows: &[(i64, i64)]) -> Result<(), DbErr> {
    const POSTGRES: &str = "DELETE FROM search_terms WHERE (term, at) IN \
        (SELECT * FROM UNNEST($1::bigint[], $2::bigint[]))";
    const SQLITE: &str =
        "DELETE FROM search_terms WHERE (term, at) IN (SELECT value->>0, value->>1 FROM json_each(?1))";
    write(db, rows, POSTGRES, SQLITE).await
}

/// The statements' texts are the same for any number of rows, so that each is prepared once.
async fn write(
    db: &impl ConnectionTrait,
    rows: &[(i64, i64)],
    postgres: &'static str,
    sqlite: &'static str,
) -> Result<(), DbErr> {
    for rows in rows.chunks(ROWS) {
        let backend = db.get_database_backend();
        let statement = if backend == DbBackend::Postgres {
            let array = |values: Vec<Value>| Value::Array(ArrayType::BigInt, Some(Box::new(values)));
            let terms = array(rows.iter().map(|(term, _)| (*term).into()).collect());
            let places = array(rows.iter().map(|(_, at)| (*at).into()).collect());
            Statement::from_sql_and_values(backend, postgres, [terms, places])
        } else {
            let rows = serde_json::to_string(rows).map_err(|error| DbErr::Json(error.to_string()))?;
            Statement::from_sql_and_values(backend, sqlite, [rows.into()])
        };
        db.execute_raw(statement).await?;
    }
    Ok(())
}

/// Takes messages out of the index, for whoever destroys their content: in the same transaction, and while it holds their rows in `events`
/// locked, as deletions do. Whoever indexes a message locks that row, too, so that nothing of it comes back. A bounded number of messages.
pub async fn forget(db: &impl ConnectionTrait, messages: Vec<Uuid>) -> Result<(), DbErr> {
    let of_them = || search_message::Column::MessageId.is_in(messages.clone());
    let indexed = search_message::Entity::find().filter(of_them()).all(db).await?;
    if indexed.is_empty() {
        return Ok(());
    }
    let mut rows: Vec<_> = indexed.iter().flat_map(search_message::Model::rows).collect();
    rows.sort_unstable();
    remove(db, &rows).await?;
    search_message::Entity::delete_many().filter(of_them()).exec(db).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_time_and_hold_the_seq() {
        let at = |seconds: i64, seq: u64| place(Timestamp::from_millis(seconds * 1000), Seq(seq));
        assert!(at(10, 900) < at(11, 2) && at(11, 2) < at(11, 3));
        assert_eq!(at(1_795_253_400, 77).map(seq_of), Some(Seq(77)));
        assert_eq!(at(1, 1 << 31), None);
        assert!(at(-5, 1) > Some(0) && at(i64::MAX / 1000, 1) > Some(0), "no moment is out of range");
        let moment = Timestamp::from_millis(5_999);
        assert!(first_place(moment) < at(5, 1).unwrap() && at(5, 1).unwrap() < next_place(moment));
        assert_eq!(next_place(Timestamp::from_millis(i64::MAX)), i64::MAX);
    }
}
