//! The statements over many events at once.
//!
//! Their texts are fixed, so that the driver prepares each once per connection and keeps it.

use std::sync::OnceLock;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{ArrayType, Value};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement};
use sealpost_schema::entities::event::Columns;
use sealpost_schema::{Event, EventBody};

const PLAIN_COLUMNS: &str = "conversation_id, seq, id, kind, sender_id, created_at, client_message_id, sealed";
const COLUMNS: &str = "conversation_id, seq, id, kind, sender_id, created_at, client_message_id, sealed, data, target_id, \
    thread_id, expires_at";

/// Rows or ids of one statement.
const CHUNKS: [usize; 4] = [100, 20, 5, 1];

/// What happens to an event whose place, id or client message id is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is left out.
    Skip,
    /// The whole transaction fails with a unique violation. Where nothing is taken, which is the rule, Postgres needs a third less
    /// time for this: `ON CONFLICT` searches all three indexes before it inserts. SQLite does not care.
    Fail,
}

/// Inserts events. Returns how many went in.
pub(super) async fn insert(transaction: &DatabaseTransaction, events: &[&Event], taken: Taken) -> Result<u64, DbErr> {
    if events.is_empty() {
        return Ok(0);
    }
    match transaction.get_database_backend() {
        DbBackend::Postgres => insert_arrays(transaction, events, taken).await,
        backend => insert_rows(transaction, backend, events, taken).await,
    }
}

/// Inserts new messages, which change no other row, by a single statement that is its own transaction: one round trip instead of three.
/// `None`: nothing was done, since no single statement takes so many rows.
pub(super) async fn insert_at_once(db: &DatabaseConnection, events: &[&Event]) -> Result<Option<u64>, DbErr> {
    match db.get_database_backend() {
        DbBackend::Postgres => insert_arrays(db, events, Taken::Fail).await.map(Some),
        backend if CHUNKS.contains(&events.len()) => insert_rows(db, backend, events, Taken::Fail).await.map(Some),
        _ => Ok(None),
    }
}

/// Whether this is a message and nothing else, as nearly every event is: its columns are fewer.
pub(super) fn is_plain(event: &Event) -> bool {
    matches!(event.body, EventBody::MessagePosted { links: None, expires_at: None, .. })
}

fn columns(event: &Event) -> Result<Columns<'_>, DbErr> {
    Columns::of(&event.body).map_err(|error| DbErr::Json(error.to_string()))
}

const INSERT_PLAIN: &str = "INSERT INTO events \
    (conversation_id, seq, id, kind, sender_id, created_at, client_message_id, sealed) \
    SELECT c, s, i, k, u, t, NULLIF(m, ''), NULLIF(x, '') \
    FROM UNNEST($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::uuid[], $6::bigint[], $7::text[], $8::text[]) \
    AS r (c, s, i, k, u, t, m, x)";

const INSERT_ANY: &str = "INSERT INTO events \
    (conversation_id, seq, id, kind, sender_id, created_at, client_message_id, sealed, data, target_id, thread_id, expires_at) \
    SELECT c, s, i, k, u, t, NULLIF(m, ''), NULLIF(x, ''), NULLIF(d, ''), NULLIF(g, '')::uuid, NULLIF(h, '')::uuid, \
    NULLIF(e, 0) \
    FROM UNNEST($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::uuid[], $6::bigint[], $7::text[], $8::text[], \
    $9::text[], $10::text[], $11::text[], $12::bigint[]) \
    AS r (c, s, i, k, u, t, m, x, d, g, h, e)";

/// Postgres: one array a column, so that one short statement fits every number of rows. Measured with 500 rows of 420 characters:
/// 16 µs of CPU a row, client and server, with `ON CONFLICT` and 11 without, against 17 for rows of `VALUES` and 21 for `insert_many`.
async fn insert_arrays(db: &impl ConnectionTrait, events: &[&Event], taken: Taken) -> Result<u64, DbErr> {
    let all_plain = events.iter().all(|event| is_plain(event));
    let width = if all_plain { 8 } else { 12 };
    let mut arrays: Vec<Vec<Value>> = (0..width).map(|_| Vec::with_capacity(events.len())).collect();
    for event in events {
        let columns = columns(event)?;
        let common: [Value; 8] = [
            event.conversation_id.0.into(),
            event.seq.to_db().into(),
            event.id.0.into(),
            event.body.kind().into(),
            event.sender_id.0.into(),
            event.created_at.millis().into(),
            columns.client_message_id.unwrap_or_default().into(),
            columns.sealed.unwrap_or_default().into(),
        ];
        let text = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default().into();
        let data = || columns.data.clone().unwrap_or_default().into();
        let expires_at = || columns.expires_at.unwrap_or(0).into();
        let rest = (!all_plain).then(|| [data(), text(columns.target_id), text(columns.thread_id), expires_at()]);
        for (array, value) in arrays.iter_mut().zip(common.into_iter().chain(rest.into_iter().flatten())) {
            array.push(value);
        }
    }
    let types = [
        ArrayType::Uuid,
        ArrayType::BigInt,
        ArrayType::Uuid,
        ArrayType::String,
        ArrayType::Uuid,
        ArrayType::BigInt,
        ArrayType::String,
        ArrayType::String,
        ArrayType::String,
        ArrayType::String,
        ArrayType::String,
        ArrayType::BigInt,
    ];
    let values = types.into_iter().zip(arrays).map(|(kind, array)| Value::Array(kind, Some(Box::new(array))));
    let insert = if all_plain { INSERT_PLAIN } else { INSERT_ANY };
    let sql = match taken {
        Taken::Skip => format!("{insert} ON CONFLICT DO NOTHING"),
        Taken::Fail => insert.to_owned(),
    };
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    Ok(db.execute_raw(statement).await?.rows_affected())
}

/// SQLite: several rows a statement, in a few fixed sizes. Measured as above: 10 µs a row by hundreds (and no less by 500), 11 by
/// twenties, 13 by fives, 19 one by one; `insert_many` needs 11 to 13.
async fn insert_rows(
    db: &impl ConnectionTrait,
    backend: DbBackend,
    events: &[&Event],
    taken: Taken,
) -> Result<u64, DbErr> {
    let mut inserted = 0;
    let mut rest = events;
    let all_plain = events.iter().all(|event| is_plain(event));
    while let Some((size, sql)) = rows_statement(rest.len(), taken, all_plain) {
        let (part, after) = rest.split_at(size);
        let mut values: Vec<Value> = Vec::with_capacity(size * 12);
        for event in part {
            let columns = columns(event)?;
            values.push(event.conversation_id.0.into());
            values.push(event.seq.to_db().into());
            values.push(event.id.0.into());
            values.push(event.body.kind().into());
            values.push(event.sender_id.0.into());
            values.push(event.created_at.millis().into());
            values.push(columns.client_message_id.map(str::to_owned).into());
            values.push(columns.sealed.map(str::to_owned).into());
            if !all_plain {
                values.push(columns.data.into());
                values.push(columns.target_id.into());
                values.push(columns.thread_id.into());
                values.push(columns.expires_at.into());
            }
        }
        let statement = Statement::from_sql_and_values(backend, sql, values);
        inserted += db.execute_raw(statement).await?.rows_affected();
        rest = after;
    }
    Ok(inserted)
}

/// The largest statement for at most `rows` rows; `None` for none.
fn rows_statement(rows: usize, taken: Taken, all_plain: bool) -> Option<(usize, &'static str)> {
    /// Plain and any, each with `ON CONFLICT` and without.
    static TEXTS: OnceLock<[[[String; 2]; 2]; CHUNKS.len()]> = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        CHUNKS.map(|size| {
            [(PLAIN_COLUMNS, "(?,?,?,?,?,?,?,?)"), (COLUMNS, "(?,?,?,?,?,?,?,?,?,?,?,?)")].map(|(columns, row)| {
                let fail = format!("INSERT INTO events ({columns}) VALUES {}", vec![row; size].join(","));
                [format!("{fail} ON CONFLICT DO NOTHING"), fail]
            })
        })
    });
    let (size, [plain, any]) = CHUNKS.into_iter().zip(texts).find(|(size, _)| *size <= rows)?;
    let [skip, fail] = if all_plain { plain } else { any };
    Some((size, if taken == Taken::Skip { skip } else { fail }))
}

/// Cuts ids for `IN (…)` into portions of the fixed sizes; the last is filled up by repeating an id.
pub(super) fn portions(ids: &[Uuid]) -> impl Iterator<Item = Vec<Uuid>> {
    ids.chunks(CHUNKS[0]).map(|part| {
        let size = CHUNKS.into_iter().rev().find(|size| *size >= part.len()).unwrap_or(part.len());
        part.iter().chain(std::iter::repeat(&part[0])).take(size).copied().collect()
    })
}
