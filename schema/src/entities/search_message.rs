//! Which terms of the search index each message has, so that they can go with it, without its text and without a key.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "search_messages")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: Uuid,
    pub conversation_id: Uuid,
    /// [`place`](super::search_term::place) of the message.
    pub at: i64,
    /// [`pack`]ed.
    pub terms: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The rows of `search_terms` that this message has.
    pub fn rows(&self) -> impl Iterator<Item = (i64, i64)> {
        let (terms, _) = self.terms.as_chunks::<8>();
        terms.iter().map(|term| (i64::from_be_bytes(*term), self.at))
    }
}

/// Terms as a column holds them: eight bytes each.
pub fn pack(terms: &[i64]) -> Vec<u8> {
    terms.iter().flat_map(|term| term.to_be_bytes()).collect()
}
