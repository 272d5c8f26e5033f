//! `docs/protocol.md` shows an example of each frame, and each is to the letter what this program reads and writes. The page thereby
//! is the golden file of the WebSocket: a change that breaks a client breaks this test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use sealpost_schema::{ClientFrame, PublicClientFrame, PublicServerFrame, ServerFrame};
use serde::Serialize;
use serde::de::DeserializeOwned;

const PAGE: &str = include_str!("../../docs/protocol.md");

const ALL_OF_CLIENTS: [&str; 15] = [
    "authenticate",
    "draft",
    "message",
    "message_delete",
    "message_delivered",
    "message_edit",
    "message_pin",
    "message_read",
    "ping",
    "presence_update",
    "reaction",
    "resume",
    "typing_start",
    "typing_stop",
    "watch",
];

fn examples() -> Vec<&'static str> {
    PAGE.split("```json\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

/// The example's type, if it is such a frame and comes out as it went in.
fn round_trip<T: DeserializeOwned + Serialize>(example: &str) -> Option<String> {
    let frame: T = serde_json::from_str(example).ok()?;
    assert_eq!(serde_json::to_string(&frame).unwrap(), example);
    let value: serde_json::Value = serde_json::from_str(example).unwrap();
    Some(value["type"].as_str().unwrap().to_owned())
}

#[test]
fn every_frame_has_an_example_that_is_right_to_the_letter() {
    let mut client = BTreeSet::new();
    let mut server = BTreeSet::new();
    let mut public = BTreeSet::new();
    for example in examples() {
        let name = round_trip::<ClientFrame>(example).map(|name| client.insert(name));
        let other = round_trip::<ServerFrame>(example).map(|name| server.insert(name));
        let asked = round_trip::<PublicClientFrame>(example).map(|name| public.insert(name));
        let told = round_trip::<PublicServerFrame>(example).map(|name| public.insert(name));
        let is_frame = name.is_some() || other.is_some() || asked.is_some() || told.is_some();
        assert!(is_frame, "not a frame: {example}");
    }
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(client, names(&ALL_OF_CLIENTS));
    let all = [
        "announcement",
        "channel_message",
        "channel_message_deleted",
        "error",
        "ping",
        "pong",
        "subscribe",
        "subscribed",
    ];
    assert_eq!(public, names(&all));
    let all = [
        "announcement",
        "change_ack",
        "conversation_changed",
        "conversation_created",
        "conversation_deleted",
        "conversation_state",
        "draft",
        "error",
        "gap",
        "message",
        "message_ack",
        "message_deleted",
        "message_edited",
        "message_pinned",
        "participant_added",
        "participant_removed",
        "pong",
        "presence_update",
        "reaction",
        "ready",
        "receipt",
        "resumed",
        "rewound",
        "scheduled_message",
        "settings_changed",
        "snapshot",
        "stored",
        "typing_start",
        "typing_stop",
        "user_blocked",
        "void",
    ];
    assert_eq!(server, names(&all));
}

#[test]
fn unknown_fields_of_client_frames_are_refused() {
    let error = serde_json::from_str::<ClientFrame>(r#"{"type":"ping","id":1,"colour":"red"}"#).unwrap_err();
    assert!(error.to_string().contains("colour"), "{error}");
}
