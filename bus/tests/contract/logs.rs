//! Appending and reading.

use std::collections::HashSet;
use std::time::Duration;

use sealpost_bus::{AppendError, Position};

use crate::backend::{Backend, append, put, put_many, subject};

pub async fn of_racing_appends_with_one_expectation_one_succeeds(backend: Backend) {
    let log = backend.log();
    let mut expected = 0;
    for round in 0..20 {
        let ids: Vec<_> = (0..8).map(|n| format!("{round}-{n}")).collect();
        let race = ids.iter().map(|id| log.append(append("chat.a", id, Some(expected))));
        let outcomes = futures_util::future::join_all(race).await;
        let stored: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(stored.len(), 1, "{outcomes:?}");
        let conflicts = outcomes.iter().filter(|outcome| matches!(outcome, Err(AppendError::Conflict))).count();
        assert_eq!(conflicts, 7, "{outcomes:?}");
        assert!(stored[0].position.0 > expected);
        expected = stored[0].position.0;
    }
}

pub async fn an_append_that_expects_the_wrong_position_is_a_conflict(backend: Backend) {
    let log = backend.log();
    let first = put(log, "chat.a", "1").await;
    let other = put(log, "chat.b", "2").await;
    for wrong in [0, other.0, other.0 + 10] {
        let outcome = log.append(append("chat.a", "3", Some(wrong))).await;
        assert!(matches!(outcome, Err(AppendError::Conflict)), "{wrong}: {outcome:?}");
    }
    assert_eq!(log.last(&subject("chat.a")).await.unwrap().unwrap().position, first);
    log.append(append("chat.a", "3", Some(first.0))).await.unwrap();
}

pub async fn an_id_appended_again_answers_with_the_first_position(mut backend: Backend) {
    let first = put(backend.log(), "chat.a", "same").await;
    let (one, two) = tokio::join!(
        backend.log().append(append("chat.a", "twin", None)),
        backend.log().append(append("chat.a", "twin", None))
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.position, two.position);
    assert!(one.duplicate != two.duplicate);
    for round in 0..2 {
        let again = backend.log().append(append("chat.a", "same", None)).await.unwrap();
        assert!(again.duplicate && again.position == first, "{round}: {again:?}");
        backend.restart().await;
    }
    assert_eq!(backend.log().state().await.unwrap().records, 2);
}

pub async fn a_repeated_compare_and_append_is_a_conflict(backend: Backend) {
    let log = backend.log();
    let first = log.append(append("chat.a", "1", Some(0))).await.unwrap();
    assert!(matches!(log.append(append("chat.a", "1", Some(0))).await, Err(AppendError::Conflict)));
    assert_eq!(log.last(&subject("chat.a")).await.unwrap().unwrap().position, first.position);
}

pub async fn last_next_and_get_find_what_was_just_appended(mut backend: Backend) {
    let (a, b) = (subject("chat.a"), subject("chat.b"));
    let a1 = put(backend.log(), "chat.a", "a1").await;
    let b1 = put(backend.log(), "chat.b", "b1").await;
    let a2 = put(backend.log(), "chat.a", "a2").await;
    assert!(a1 < b1 && b1 < a2);
    // Once from memory, once from the disk.
    for _ in 0..2 {
        let log = backend.log();
        let last = log.last(&a).await.unwrap().unwrap();
        assert_eq!((last.position, last.id.as_str(), &last.payload[..], &last.subject), (a2, "a2", &b"a2"[..], &a));
        assert_eq!(log.next(&a, Position(0)).await.unwrap().unwrap().position, a1);
        assert_eq!(log.next(&a, a1).await.unwrap().unwrap().position, a1);
        assert_eq!(log.next(&a, b1).await.unwrap().unwrap().position, a2);
        assert!(log.next(&b, a2).await.unwrap().is_none());
        assert_eq!(log.get(b1).await.unwrap().unwrap().id, "b1");
        assert!(log.get(Position(0)).await.unwrap().is_none());
        assert!(log.get(Position(a2.0 + 1)).await.unwrap().is_none());
        assert!(log.last(&subject("chat.c")).await.unwrap().is_none());
        backend.restart().await;
    }
}

pub async fn a_record_that_is_too_large_is_refused(backend: Backend) {
    let mut large = append("chat.a", "1", None);
    large.payload = vec![0; 3 << 20].into();
    let outcome = backend.log().append(large).await;
    assert!(matches!(outcome, Err(AppendError::Refused(_))), "{outcome:?}");
    assert_eq!(backend.log().state().await.unwrap().records, 0);
}

pub async fn the_state_counts_what_is_there(backend: Backend) {
    let log = backend.log();
    let empty = log.state().await.unwrap();
    assert_eq!((empty.records, empty.first, empty.last), (0, Position(0), Position(0)));
    let positions = put_many(log, "chat.a", 5).await;
    let state = log.state().await.unwrap();
    assert_eq!((state.records, state.first, state.last), (5, positions[0], positions[4]));
    assert!(state.bytes > 0);
    assert!(log.connection().borrow().up);
}

pub async fn records_survive_a_graceful_restart(mut backend: Backend) {
    let positions = put_many(backend.log(), "chat.a", 50).await;
    backend.restart().await;
    for position in &positions {
        assert!(backend.log().get(*position).await.unwrap().is_some(), "{position:?}");
    }
    let next = put(backend.log(), "chat.a", "after").await;
    assert!(next > positions[49]);
}

pub async fn old_records_are_deleted_and_positions_are_not_used_again(mut backend: Backend) {
    let positions = put_many(backend.log(), "chat.a", 10).await;
    backend.restart_with_age(Some(Duration::from_millis(500))).await;
    while backend.log().state().await.unwrap().records > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(backend.log().last(&subject("chat.a")).await.unwrap().is_none());
    assert!(backend.log().get(positions[3]).await.unwrap().is_none());
    // Long enough to be read again.
    backend.restart_with_age(Some(Duration::from_hours(1))).await;
    let fresh = backend.log().append(append("chat.a", "fresh", Some(0))).await.unwrap().position;
    assert!(fresh > positions[9], "{fresh:?}");
    let mut seen = HashSet::new();
    assert!(seen.insert(backend.log().get(fresh).await.unwrap().unwrap().id));
}
