//! Which kinds of events a webhook wants.

use std::collections::BTreeSet;

use sealpost_schema::EventBody;

use crate::problem::{ApiError, ApiResult};

/// As the row has them.
pub fn column(kinds: Vec<String>) -> ApiResult<String> {
    let kinds: BTreeSet<String> = kinds.into_iter().collect();
    if let Some(unknown) = kinds.iter().find(|kind| !EventBody::KINDS.contains(&kind.as_str())) {
        let known = EventBody::KINDS.join(", ");
        let unknown: String = unknown.chars().take(64).collect();
        return Err(ApiError::invalid(format!("There is no kind of event called `{unknown}`. There are: {known}.")));
    }
    if kinds.is_empty() {
        return Err(ApiError::invalid("Name the kinds of events that are wanted, or leave the field out for all."));
    }
    Ok(kinds.into_iter().collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_ones_each_once() {
        let of = |kinds: &[&str]| column(kinds.iter().map(|kind| (*kind).to_owned()).collect());
        let column = of(&["message_posted", "message_edited", "message_posted"]).unwrap();
        assert_eq!(column, "message_edited,message_posted");
        assert_eq!(of(&["message"]).unwrap_err().0.status, 422);
        assert_eq!(of(&[]).unwrap_err().0.status, 422);
    }
}
