//! Which database errors pass by themselves, and which stay.

use sea_orm::{DbErr, RuntimeErr, SqlxError};

/// What to do about a failed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The database is away, busy, or not set up: nothing is wrong with the data. Wait and do the same again.
    Passing,
    /// The database will never take this data.
    Lasting,
}

/// Only what is surely the data's fault counts as lasting: a mistake in the other direction would send everybody's messages to the
/// dead letters because of, say, a full disk or a missing migration.
pub(crate) fn classify(error: &DbErr) -> Failure {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => of_driver(error),
        DbErr::TryIntoErr { .. } | DbErr::Type(_) | DbErr::Json(_) => Failure::Lasting,
        _ => Failure::Passing,
    }
}

fn of_driver(error: &SqlxError) -> Failure {
    let lasting = match error {
        SqlxError::Encode(_) => true,
        SqlxError::Database(error) => error.code().is_some_and(|code| is_lasting_code(&code)),
        _ => false,
    };
    if lasting { Failure::Lasting } else { Failure::Passing }
}

/// Postgres: SQLSTATE (5 characters) of the classes data exception, integrity constraint violation, and program limit exceeded.
/// SQLite: extended result codes whose low byte is `TOOBIG`, `CONSTRAINT` or `MISMATCH`.
fn is_lasting_code(code: &str) -> bool {
    if code.len() == 5 {
        return matches!(code.get(..2), Some("22" | "23" | "54"));
    }
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_errors_are_lasting() {
        for code in ["22021", "22001", "23505", "23502", "54000", "19", "2067", "1555", "18", "20"] {
            assert!(is_lasting_code(code), "{code}");
        }
        for code in
            ["40001", "40P01", "57P01", "08006", "53100", "25006", "42P01", "55P03", "5", "517", "10", "13", "1"]
        {
            assert!(!is_lasting_code(code), "{code}");
        }
    }

    #[test]
    fn a_database_that_is_away_is_a_passing_failure() {
        assert_eq!(classify(&DbErr::ConnectionAcquire(sea_orm::ConnAcquireErr::Timeout)), Failure::Passing);
        assert_eq!(classify(&DbErr::Exec(RuntimeErr::Internal("?".to_owned()))), Failure::Passing);
    }
}
