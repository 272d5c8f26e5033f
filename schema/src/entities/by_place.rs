use sea_orm::{DbErr, QueryResult, TryGetable};

/// Reads a row's columns one after the other. SeaORM reads by name, and writes the name into an error text for each NULL: for a page of messages
/// that costs as much as opening their texts.
pub struct ByPlace<'a> {
    row: &'a QueryResult,
    place: usize,
}

impl<'a> ByPlace<'a> {
    /// `first`: the place of the first column, from 0.
    pub fn new(row: &'a QueryResult, first: usize) -> Self {
        Self { row, place: first }
    }

    /// # Errors
    /// There is no such column, or it holds something else.
    #[expect(clippy::should_implement_trait, reason = "each is of another type")]
    pub fn next<T: TryGetable>(&mut self) -> Result<T, DbErr> {
        let value = self.row.try_get_by_index(self.place)?;
        self.place += 1;
        Ok(value)
    }
}
