//! `docs/protocol.md` shows an example of each frame, and each is to the letter what this program reads and writes. The page thereby
//! is the golden file of the WebSocket: a change that breaks a client breaks this test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use sealpost_schema::{ClientFrame, PublicClientFrame, PublicServerFrame, ServerFrame};
use serde::Serialize;
use serde::de::DeserializeOwned;

const PAGE: &str = include_str!("../../docs/protocol.md");

/// As servers publish it at `/openapi/websocket.json`.
const SCHEMA: &str = include_str!("../../openapi/websocket.json");

/// Every type of frame that the published schema has under these names.
fn published(names: &[&str]) -> BTreeSet<String> {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let frames = names.iter().flat_map(|name| schema["components"]["schemas"][name]["oneOf"].as_array().unwrap());
    frames.map(|frame| frame["properties"]["type"]["enum"][0].as_str().unwrap().to_owned()).collect()
}

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
    assert_eq!(client, published(&["ClientFrame"]));
    assert_eq!(server, published(&["ServerFrame"]));
    assert_eq!(public, published(&["PublicClientFrame", "PublicServerFrame"]));
    // Names that clients of such systems know.
    for name in [
        "ping",
        "message",
        "typing_start",
        "typing_stop",
        "message_read",
        "reaction",
        "presence_update",
        "key_exchange",
    ] {
        assert!(client.contains(name), "{name}");
    }
    assert!(server.contains("message_ack") && server.contains("announcement") && public.contains("subscribe"));
}

#[test]
fn unknown_fields_of_client_frames_are_refused() {
    let error = serde_json::from_str::<ClientFrame>(r#"{"type":"ping","id":1,"colour":"red"}"#).unwrap_err();
    assert!(error.to_string().contains("colour"), "{error}");
}
