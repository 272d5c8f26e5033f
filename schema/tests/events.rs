//! What stands in the event log of a running installation must be readable for ever: records of every released version are kept under
//! `golden/` and read here.

use std::sync::Arc;

use sealpost_schema::{EventBody, EventId, EventRecord, RecordError, RecordHead, RecordOutline, Seq, redact};

const V1: &str = include_str!("golden/record.v1.json");
/// Kinds that came after the first record was written down.
const LATER: [(&str, &str); 1] = [(include_str!("golden/settings.v1.json"), "settings_changed")];
/// Changes of messages.
const LINKS: &str = include_str!("golden/record.v1.links.json");
const LIFETIMES: &str = include_str!("golden/record.v1.lifetimes.json");
const CHANGES: &str = include_str!("golden/record.v1.changes.json");

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
    assert!(all.iter().all(|kind| EventBody::KINDS.contains(kind)), "{all:?}");
    let head = RecordHead::peek(V1.as_bytes()).unwrap();
    assert_eq!((head.previous, head.first, head.last), (7, Seq(1), Seq(8)));
}

#[test]
fn later_kinds_of_events_are_read_and_written_to_the_letter() {
    for (golden, kind) in LATER {
        let record = EventRecord::decode(golden.trim_end().as_bytes()).unwrap();
        assert_eq!(String::from_utf8(record.encode()).unwrap(), golden.trim_end());
        assert!(record.events.iter().all(|event| event.body.kind() == kind), "{golden}");
        assert!(EventBody::KINDS.contains(&kind), "{kind}");
    }
}

#[test]
fn changes_of_messages_are_read_and_written_to_the_letter() {
    let record = EventRecord::decode(CHANGES.trim_end().as_bytes()).unwrap();
    assert_eq!(String::from_utf8(record.encode()).unwrap(), CHANGES.trim_end());
    let kinds: Vec<_> = record.events.iter().map(|event| event.body.kind()).collect();
    assert_eq!(kinds, ["message_edited", "reaction_added", "reaction_removed", "message_pinned", "message_unpinned"]);
    assert!(kinds.iter().all(|kind| EventBody::KINDS.contains(kind)), "{kinds:?}");
    assert!(record.events.iter().all(|event| event.body.target().is_some()));
}

#[test]
fn links_of_messages_are_read_and_written_to_the_letter() {
    let record = EventRecord::decode(LINKS.trim_end().as_bytes()).unwrap();
    assert_eq!(String::from_utf8(record.encode()).unwrap(), LINKS.trim_end());
    assert!(record.events.iter().all(|event| event.body.mentions_all()));
    assert!(record.events[0].body.thread().is_some());
}

#[test]
fn what_disappears_is_read_and_written_to_the_letter() {
    let record = EventRecord::decode(LIFETIMES.trim_end().as_bytes()).unwrap();
    assert_eq!(String::from_utf8(record.encode()).unwrap(), LIFETIMES.trim_end());
    let expires_at = record.events[1].body.expires_at().unwrap();
    assert!(record.events[1..].iter().all(|event| event.body.expires_at() == Some(expires_at)));
    assert!(record.events[1].is_expired(expires_at));
    assert!(!record.events[1].is_expired(expires_at.minus(std::time::Duration::from_millis(1))));
    assert!(!record.events[0].is_expired(expires_at));
}

#[test]
fn a_deletion_takes_the_content_of_what_is_read_with_it() {
    let first = EventRecord::decode(V1.trim_end().as_bytes()).unwrap().events;
    let mut events = [&first[..2], &EventRecord::decode(CHANGES.trim_end().as_bytes()).unwrap().events[..]].concat();
    let whole = events.clone();
    redact(&mut events);
    assert_eq!(events, whole, "nothing is deleted among them");
    events.push(Arc::clone(&first[2]));
    redact(&mut events);
    assert_eq!(first[2].body.target().map(EventId::from), Some(first[1].id));
    assert!(events.iter().all(|event| event.body.content().is_none_or(str::is_empty)), "{events:?}");
    assert_eq!(
        events.iter().map(|event| event.id).collect::<Vec<_>>()[..7],
        whole.iter().map(|event| event.id).collect::<Vec<_>>()
    );
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

#[test]
fn the_outline_of_a_record_is_refused_for_the_same_reasons() {
    let golden = V1.trim_end();
    let record = EventRecord::decode(golden.as_bytes()).unwrap();
    let outline = RecordOutline::decode(golden.as_bytes()).unwrap();
    assert_eq!((Some(outline.conversation_id), outline.last), (record.conversation_id(), record.last));
    assert!(outline.has_joins);
    let message = EventRecord::new(0, vec![Arc::clone(&record.events[1])]).unwrap();
    assert!(!RecordOutline::decode(&message.encode()).unwrap().has_joins);

    let changes = [
        ("\"v\":1", "\"v\":9"),
        ("\"first\":1", "\"first\":2"),
        ("\"first\":1", "\"first\":0"),
        ("\"last\":8", "\"last\":9"),
        ("\"seq\":5", "\"seq\":6"),
        (
            "\"conversation_id\":\"0198a1b2-0000-7000-8000-000000000001\",\"seq\":4",
            "\"conversation_id\":\"0198a1b2-0000-7000-8000-000000000002\",\"seq\":4",
        ),
        (golden, "{\"v\":1,\"previous\":0,\"first\":1,\"last\":1,\"events\":[]}"),
        (golden, "garbage"),
    ];
    for (from, to) in changes {
        let changed = golden.replacen(from, to, 1);
        assert_ne!(changed, golden, "{from}");
        let (record, outline) = (EventRecord::decode(changed.as_bytes()), RecordOutline::decode(changed.as_bytes()));
        let (record, outline) = (record.unwrap_err().to_string(), outline.unwrap_err().to_string());
        assert_eq!(record.split(" at ").next(), outline.split(" at ").next(), "{to}");
    }
}

#[test]
fn the_head_of_a_record_is_found_wherever_it_stands() {
    let elsewhere = r#"{"v":1,"events":[{"last":3,"x":",\"events\":"}],"previous":7,"first":1,"last":8}"#;
    let head = RecordHead::peek(elsewhere.as_bytes()).unwrap();
    assert_eq!((head.previous, head.first, head.last), (7, Seq(1), Seq(8)));
    for garbage in ["", "{", ",\"events\":", "{\"v\":1,\"events\":[]}"] {
        assert!(RecordHead::peek(garbage.as_bytes()).is_err(), "{garbage}");
    }
}
