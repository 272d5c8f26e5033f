//! What the index proposes: places of messages that have all terms, newest first, of many conversations at once.
//!
//! Each conversation has terms of its own, so a search over many is a list of small ones; two statements take the list as one parameter and
//! answer all of it. How far one statement reads is bounded: where a frequent word and another never meet, a page may end early, with
//! a place to go on from.

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, Statement};
use sealpost_schema::entities::search_term::{SEQ_MASK, seq_of};
use sealpost_schema::{ConversationId, Seq};
use serde_json::{Value, json};

/// Terms that the index is asked for; further words are only compared with the text.
pub const MAX_TERMS: usize = 6;
/// Counting ends here: which term is the rarest matters, and not how frequent it is.
const MAX_COUNTED: usize = 200;
/// Places read of all conversations together, and of each.
const MAX_READ: usize = 40_000;
const READ_OF_EACH: (usize, usize) = (100, 4_000);

/// What is looked for in one conversation.
#[derive(Clone, Debug)]
pub struct Lookup {
    pub conversation_id: ConversationId,
    /// From this place on, up to and without the second.
    pub from: i64,
    pub to: i64,
    /// Events before it are not for this user.
    pub visible_from: Seq,
    /// All of these, at least one.
    pub terms: Vec<i64>,
}

/// A message that the index proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proposal {
    pub place: i64,
    pub conversation_id: ConversationId,
}

impl Proposal {
    pub fn seq(self) -> Seq {
        seq_of(self.place)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Proposals {
    /// Newest first.
    pub found: Vec<Proposal>,
    /// Everything from this place on is among them, older ones may not be; `None`: there are no others.
    pub complete_to: Option<i64>,
}

/// Up to `wanted` of each conversation; in all of them together those that are certain to be the newest.
///
/// # Errors
/// What the store says.
pub async fn propose(db: &DatabaseConnection, lookups: Vec<Lookup>, wanted: usize) -> Result<Proposals, DbErr> {
    let lookups = rarest_first(db, lookups).await?;
    if lookups.is_empty() {
        return Ok(Proposals::default());
    }
    let read = (MAX_READ / lookups.len()).clamp(READ_OF_EACH.0, READ_OF_EACH.1);
    let terms = lookups.first().map_or(1, |lookup| lookup.terms.len());
    let rows: Vec<Value> = lookups.iter().enumerate().map(|(number, lookup)| row(number, lookup)).collect();
    let answers = ask(db, scan_sql(db.get_database_backend(), terms), rows, &[read - 1, wanted]).await?;
    let mut proposals = Proposals::default();
    for answer in answers {
        let (number, places, read_to): (i64, Option<String>, Option<i64>) =
            (answer.try_get_by_index(0)?, answer.try_get_by_index(1)?, answer.try_get_by_index(2)?);
        let Some(lookup) = usize::try_from(number).ok().and_then(|number| lookups.get(number)) else { continue };
        let places: Vec<i64> =
            places.iter().flat_map(|text| text.split(',')).filter_map(|at| at.parse().ok()).collect();
        let last = places.iter().min().copied();
        // As many as were wanted: there may be more after the last. Fewer: everything was looked at that was read.
        let complete_to = if places.len() >= wanted { last } else { read_to };
        proposals.complete_to = proposals.complete_to.max(complete_to);
        let conversation_id = lookup.conversation_id;
        proposals.found.extend(places.into_iter().map(|place| Proposal { place, conversation_id }));
    }
    proposals.found.retain(|proposal| proposals.complete_to.is_none_or(|complete| proposal.place >= complete));
    proposals.found.sort_unstable_by(|one, other| other.cmp(one));
    Ok(proposals)
}

/// Each with its rarest term first, and without conversations that lack one.
async fn rarest_first(db: &DatabaseConnection, mut lookups: Vec<Lookup>) -> Result<Vec<Lookup>, DbErr> {
    for lookup in &mut lookups {
        lookup.terms.truncate(MAX_TERMS);
    }
    // All have as many, since all are of one query.
    if lookups.iter().all(|lookup| lookup.terms.len() == 1) {
        return Ok(lookups);
    }
    let mut rows = Vec::new();
    for (number, lookup) in lookups.iter().enumerate() {
        rows.extend(
            lookup.terms.iter().map(|term| json!({ "i": number, "a": term, "lo": lookup.from, "hi": lookup.to })),
        );
    }
    let sql = count_sql(db.get_database_backend());
    let mut counts: Vec<Vec<(i64, i64)>> = vec![Vec::new(); lookups.len()];
    for answer in ask(db, sql, rows, &[]).await? {
        let number: i64 = answer.try_get_by_index(0)?;
        if let Some(counts) = usize::try_from(number).ok().and_then(|number| counts.get_mut(number)) {
            counts.push((answer.try_get_by_index(2)?, answer.try_get_by_index(1)?));
        }
    }
    let counted = lookups.into_iter().zip(counts).filter_map(|(lookup, mut counts)| {
        counts.sort_unstable();
        let some_of_each = counts.first().is_some_and(|(count, _)| *count > 0);
        some_of_each.then(|| Lookup { terms: counts.into_iter().map(|(_, term)| term).collect(), ..lookup })
    });
    Ok(counted.collect())
}

fn row(number: usize, lookup: &Lookup) -> Value {
    let mut row = json!({ "i": number, "lo": lookup.from, "hi": lookup.to, "seen": lookup.visible_from.to_db() });
    for (name, term) in NAMES.iter().zip(&lookup.terms) {
        row[name] = json!(term);
    }
    row
}

/// Columns of the terms.
const NAMES: [&str; MAX_TERMS] = ["a", "b", "c", "d", "e", "f"];

/// The list of lookups as a table `q` with these columns of numbers.
fn list(backend: DbBackend, columns: &[&str]) -> String {
    if backend == DbBackend::Postgres {
        let columns: Vec<String> = columns.iter().map(|column| format!("{column} bigint")).collect();
        return format!("json_to_recordset($1::json) AS q(i bigint, {})", columns.join(", "));
    }
    let columns: Vec<String> = columns.iter().map(|column| format!("value->>'{column}' AS {column}")).collect();
    format!("(SELECT value->>'i' AS i, {} FROM json_each(?1)) AS q", columns.join(", "))
}

fn count_sql(backend: DbBackend) -> String {
    let list = list(backend, &["a", "lo", "hi"]);
    format!(
        "SELECT q.i, q.a, (SELECT COUNT(*) FROM (SELECT 1 FROM search_terms s \
         WHERE s.term = q.a AND s.at >= q.lo AND s.at < q.hi LIMIT {MAX_COUNTED}) counted) FROM {list}"
    )
}

/// One text for each number of terms. Parameters: the list, how many places are read of each less one, how many are wanted of each.
fn scan_sql(backend: DbBackend, terms: usize) -> String {
    let names = &NAMES[..terms.clamp(1, MAX_TERMS)];
    let list = list(backend, &[&["lo", "hi", "seen"], names].concat());
    // No EXISTS: for that a planner may read all places of the other term.
    let has = |name: &&str| {
        format!(" AND (SELECT 1 FROM search_terms x WHERE x.term = r.{name} AND x.at = s.at) IS NOT NULL")
    };
    let others = names[1..].iter().map(has).collect::<Vec<_>>().concat();
    let (joined, wanted) = match backend {
        DbBackend::Postgres => ("string_agg(h.at::text, ',')", ["$2", "$3"]),
        _ => ("group_concat(h.at, ',')", ["?2", "?3"]),
    };
    let [skipped, wanted] = wanted;
    format!(
        "SELECT r.i, (SELECT {joined} FROM (SELECT s.at FROM search_terms s WHERE s.term = r.a \
         AND s.at >= COALESCE(r.read_to, r.lo) AND s.at < r.hi AND (s.at & {SEQ_MASK}) >= r.seen{others} \
         ORDER BY s.at DESC LIMIT {wanted}) h), r.read_to \
         FROM (SELECT q.*, (SELECT p.at FROM search_terms p WHERE p.term = q.a AND p.at >= q.lo AND p.at < q.hi \
         ORDER BY p.at DESC LIMIT 1 OFFSET {skipped}) AS read_to FROM {list}) r"
    )
}

/// Asks with a list as first parameter.
async fn ask(
    db: &DatabaseConnection,
    sql: String,
    rows: Vec<Value>,
    numbers: &[usize],
) -> Result<Vec<sea_orm::QueryResult>, DbErr> {
    let list = Value::Array(rows).to_string().into();
    let numbers = numbers.iter().map(|number| i64::try_from(*number).unwrap_or(i64::MAX).into());
    let parameters = std::iter::once(list).chain(numbers);
    db.query_all_raw(Statement::from_sql_and_values(db.get_database_backend(), sql, parameters)).await
}
