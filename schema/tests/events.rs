//! What stands in the event log of a running installation must be readable for ever: records of every released version are kept under
//! `golden/` and read here.

use std::sync::Arc;

use sealpost_schema::{EventBody, EventRecord, RecordError, RecordHead, Seq};

const V1: &str = include_str!("golden/record.v1.json");

#[test]
fn a_record_of_version_1_is_read_and_written_to_the_letter() {
    let record = EventRecord::decode(V1.trim_end().as_bytes()).unwrap();
    assert_eq!(String::from_utf8(record.encode()).unwrap(), V1.trim_end());
    let kinds: Vec<_> = record.events.iter().map(|event| event.body.kind()).collect();
    let all = [
        "conversation_created",
        "message_posted",
        "message_deleted",
        "participant_added",
        "participant_removed",
        "conversation_changed",
        "void",
        "conversation_deleted",
    ];
    assert_eq!(kinds, all, "the golden record holds every kind of event");
    let head = RecordHead::peek(V1.as_bytes()).unwrap();
    assert_eq!((head.previous, head.first, head.last), (7, Seq(1), Seq(8)));
}

#[test]
fn a_record_that_is_not_consistent_is_refused() {
    let record = EventRecord::decode(V1.trim_end().as_bytes()).unwrap();
    let events = record.events;
    assert!(EventRecord::new(0, Vec::new()).is_none(), "empty");
    assert!(EventRecord::new(0, vec![Arc::clone(&events[0]), Arc::clone(&events[2])]).is_none(), "a hole");
    assert!(EventRecord::new(0, events[..3].to_vec()).is_some());
    let other = V1.replacen("\"v\":1", "\"v\":9", 1);
    assert!(matches!(EventRecord::decode(other.as_bytes()), Err(RecordError::Version(9))));
    let shifted = V1.replacen("\"first\":1", "\"first\":2", 1);
    assert!(matches!(EventRecord::decode(shifted.as_bytes()), Err(RecordError::Inconsistent)));
    for garbage in ["", "{}", "null", "[]", "{\"v\":1}"] {
        assert!(EventRecord::decode(garbage.as_bytes()).is_err(), "{garbage}");
    }
}

#[test]
fn an_unknown_kind_of_event_is_an_error_and_not_a_guess() {
    assert!(serde_json::from_str::<EventBody>(r#"{"kind":"teleported"}"#).is_err());
}
