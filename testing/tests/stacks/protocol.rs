//! `docs/protocol.md` against running servers: every example of a client's frame is sent, and every example of the server's comes.
//!
//! The page has ids, moments and numbers of its own: they are replaced on the way out, and stand for any others on the way back. All else is
//! compared to the letter: fields, words, texts, problems.

use std::collections::BTreeSet;
use std::time::Duration;

use sealpost_schema::{ClientFrame, Clock, PublicClientFrame, Timestamp};
use sealpost_testing::{Api, Connect, Form, Settings, Socket, Stack, User, within};
use serde_json::{Value, json};
use uuid::Uuid;

on_stacks_of_their_own! {
    every_example_of_the_protocol_is_sent_and_comes
}

const PAGE: &str = include_str!("../../../docs/protocol.md");
/// Ids of the page: the conversation, and the message that it is about.
const CONVERSATION: &str = "0198a1b2-0000-7000-8000-000000000001";
const MESSAGE: &str = "0198a1b2-0000-7000-8000-000000000002";

/// So long a lane remembers names.
const KNOWN_FOR: Duration = Duration::from_secs(10);

fn examples() -> Vec<Value> {
    let examples = PAGE.split("```json\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    examples.map(|example| serde_json::from_str(example).unwrap()).collect()
}

fn is_of_client(example: &Value) -> bool {
    let text = example.to_string();
    serde_json::from_str::<ClientFrame>(&text).is_ok() || serde_json::from_str::<PublicClientFrame>(&text).is_ok()
}

/// The frame with a stand-in for every id, moment and number.
fn shape(value: &Value) -> Value {
    match value {
        Value::Number(_) => json!("<number>"),
        Value::Array(list) => list.iter().map(shape).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let name = if Uuid::parse_str(name).is_ok() { "<id>" } else { name };
                // A status is a number that means something; a token is never the same.
                let value = match name {
                    "status" if value.is_number() => value.clone(),
                    "token" => json!("<token>"),
                    _ => shape(value),
                };
                (name.to_owned(), value)
            })
            .collect(),
        Value::String(text) if serde_json::from_value::<Timestamp>(value.clone()).is_ok() => {
            assert!(text.contains('T'));
            json!("<moment>")
        }
        Value::String(text) => {
            let words = text.split(' ').map(|word| if Uuid::parse_str(word).is_ok() { "<id>" } else { word });
            json!(words.collect::<Vec<_>>().join(" "))
        }
        other => other.clone(),
    }
}

/// What was sent of the page, and what has come.
#[derive(Default)]
struct Tape {
    sent: BTreeSet<String>,
    come: BTreeSet<String>,
}

impl Tape {
    /// Reads up to the frame that fits.
    async fn hear(&mut self, socket: &mut Socket, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            loop {
                let frame = socket.frame().await;
                self.come.insert(shape(&frame).to_string());
                if fits(&frame) {
                    return frame;
                }
            }
        };
        within(what, search).await
    }

    async fn hear_type(&mut self, socket: &mut Socket, kind: &str) -> Value {
        self.hear(socket, kind, |frame| frame["type"] == kind).await
    }

    /// The n-th example of a client's frame of this type, about this conversation and message, changed where numbers must fit.
    fn example(&mut self, kind: &str, n: usize, [conversation, message]: [&str; 2], fit: impl Fn(&mut Value)) -> Value {
        let mut of_kind = examples().into_iter().filter(|example| example["type"] == kind && is_of_client(example));
        let example = of_kind.nth(n).unwrap_or_else(|| panic!("the page has no example {n} of {kind}"));
        self.sent.insert(shape(&example).to_string());
        let text = example.to_string().replace(CONVERSATION, conversation).replace(MESSAGE, message);
        let mut frame = serde_json::from_str(&text).unwrap();
        fit(&mut frame);
        assert_eq!(shape(&frame), shape(&example), "only ids, moments and numbers may be fitted in");
        frame
    }
}

async fn sign_up(stack: &Stack, gateway: usize, username: &str) -> User {
    let (api, password) = (Api::new(&stack.url(gateway)), "long enough, really".to_owned());
    let body = api.post("/api/auth/signup", &json!({ "username": username, "password": password })).await.ok(201);
    User::of(api, username.to_owned(), password, &body)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

pub async fn every_example_of_the_protocol_is_sent_and_comes(form: Form) {
    // Lanes that forget leave it to the store to find a name that was used: that makes a `void`.
    let settings = Settings::default()
        .set("SEALPOST__GATEWAY__MAX_RESUME_EVENTS", 6)
        .set("SEALPOST__LANE__KNOWN_FOR_MS", KNOWN_FOR.as_millis());
    let stack = Stack::start(form, settings).await;
    let ann = sign_up(&stack, 0, "ann").await.promoted(&stack);
    let bob = sign_up(&stack, 1, "ada").await;
    ann.request("PATCH", "/api/auth/me", json!({ "display_name": "Ada Lovelace" })).await.ok(200);
    let mut tape = Tape::default();
    let group = a_conversation(&stack, &mut tape, &ann, &bob).await;
    what_fades(&stack, &mut tape, &ann, &bob, &group).await;
    coming_back(&stack, &mut tape, &ann).await;
    a_channel(&stack, &mut tape, &ann).await;
    let (mut not_sent, mut not_come) = (Vec::new(), Vec::new());
    for example in examples() {
        let (shape, of_client) = (shape(&example).to_string(), is_of_client(&example));
        if of_client && !tape.sent.contains(&shape) {
            not_sent.push(shape);
        } else if !of_client && !tape.come.contains(&shape) {
            not_come.push(shape);
        }
    }
    assert!(not_sent.is_empty(), "of the page, this was not sent: {not_sent:#?}");
    assert!(not_come.is_empty(), "of the page, this never came: {not_come:#?}\n{:#?}", tape.come);
    stack.settle().await;
}

/// From its beginning; its id.
async fn a_conversation(stack: &Stack, tape: &mut Tape, ann: &User, bob: &User) -> String {
    let mut to_ann = ann.socket().await;
    let mut second = ann.sign_in().await.at(stack, 1).socket().await;
    let group = ann.group(&[]).await;
    let path = format!("/api/conversations/{group}");
    ann.request("PATCH", &path, json!({ "title": "Harbour" })).await.ok(200);
    ann.add(&group, bob, "member").await.ok(200);
    for kind in ["conversation_created", "conversation_changed", "participant_added"] {
        tape.hear_type(&mut to_ann, kind).await;
    }
    stack.settle().await;
    let mut to_bob = bob.connect().open().await.unwrap();
    tape.hear_type(&mut to_bob, "ready").await;

    let plain = |_: &mut Value| {};
    let nothing = [group.as_str(), MESSAGE];
    to_ann.send(&tape.example("ping", 0, nothing, plain)).await;
    tape.hear_type(&mut to_ann, "pong").await;
    to_ann.send(&tape.example("message", 0, nothing, plain)).await;
    let ack = tape.hear_type(&mut to_ann, "message_ack").await;
    tape.hear_type(&mut to_bob, "message").await;
    let id = text(&ack["message_id"]);
    let here = [group.as_str(), id.as_str()];
    to_ann.send(&sealpost_testing::message(&group, "m-1", "another text")).await;
    tape.hear_type(&mut to_ann, "error").await;
    to_ann.send(&tape.example("message", 1, here, plain)).await;
    let last = tape.hear(&mut to_bob, "the answer", |frame| frame["client_message_id"] == "m-2").await["seq"].clone();

    for (kind, event) in [
        ("message_edit", "message_edited"),
        ("reaction", "reaction"),
        ("message_pin", "message_pinned"),
        ("message_delete", "message_deleted"),
    ] {
        to_ann.send(&tape.example(kind, 0, here, plain)).await;
        tape.hear_type(&mut to_ann, "change_ack").await;
        tape.hear_type(&mut to_bob, event).await;
    }
    to_ann.send(&tape.example("key_exchange", 0, here, plain)).await;
    tape.hear(&mut to_ann, "what is reserved", |frame| frame["client_operation_id"] == "o-5").await;
    to_ann.send(&tape.example("draft", 0, here, plain)).await;
    tape.hear_type(&mut second, "draft").await;
    for kind in ["message_delivered", "message_read"] {
        to_bob.send(&tape.example(kind, 0, here, |frame| frame["seq"] = last.clone())).await;
    }
    tape.hear(&mut to_ann, "the receipt", |frame| frame["type"] == "receipt" && frame["read_seq"] == last).await;

    // Ann looks as if she were not there, so that it is Bob alone.
    for socket in [&mut to_ann, &mut second] {
        socket.send(&json!({ "type": "presence_update", "status": "offline" })).await;
    }
    second.ping().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    to_ann.send(&tape.example("watch", 0, here, plain)).await;
    tape.hear(&mut to_ann, "who is there", |frame| frame["whole"] == true).await;
    for kind in ["typing_start", "typing_stop"] {
        to_bob.send(&tape.example(kind, 0, here, plain)).await;
        tape.hear_type(&mut to_ann, kind).await;
    }
    drop(to_bob);
    tape.hear(&mut to_ann, "nobody", |frame| frame["type"] == "presence_update" && frame["online"] == 0).await;
    to_ann.send(&tape.example("presence_update", 0, here, plain)).await;
    to_ann.ping().await;
    group
}

/// What disappears, ends, or concerns one's own devices.
async fn what_fades(stack: &Stack, tape: &mut Tape, ann: &User, bob: &User, group: &str) {
    let path = format!("/api/conversations/{group}");
    let (mut to_ann, mut to_bob) = (ann.socket().await, bob.socket().await);
    ann.request("PATCH", &path, json!({ "disappear_after_seconds": 60 })).await.ok(200);
    tape.hear_type(&mut to_ann, "settings_changed").await;
    ann.say(group, "m-3", "For a minute.").await.ok(201);
    tape.hear(&mut to_ann, "a message", |frame| frame["client_message_id"] == "m-3").await;
    let later = json!({ "client_message_id": "b-1", "text": "later", "send_at": Clock::skewed(2_000).now() });
    bob.post(&format!("{path}/scheduled"), later).await.ok(201);
    ann.remove(group, bob).await.ok(204);
    tape.hear_type(&mut to_ann, "participant_removed").await;
    tape.hear(&mut to_bob, "the refusal", |frame| frame["state"] == "failed").await;
    let muted = json!({ "muted_until": "2031-01-01T00:00:00.000Z" });
    ann.request("PATCH", &format!("{path}/state"), muted).await.ok(200);
    tape.hear_type(&mut to_ann, "conversation_state").await;
    ann.request("PUT", &format!("/api/blocks/{}", bob.id), Value::Null).await;
    tape.hear_type(&mut to_ann, "user_blocked").await;
    let told = json!({ "text": "Maintenance tonight at 22:00 UTC." });
    ann.post("/api/admin/announcements", told).await.ok(201);
    tape.hear_type(&mut to_ann, "announcement").await;
    ann.delete(&path).await.ok(204);
    tape.hear_type(&mut to_ann, "conversation_deleted").await;
    stack.settle().await;
}

async fn coming_back(stack: &Stack, tape: &mut Tape, ann: &User) {
    let group = ann.group(&[]).await;
    let here = [group.as_str(), MESSAGE];
    ann.say(&group, "a-0", "said before").await.ok(201);
    tokio::time::sleep(KNOWN_FOR + Duration::from_secs(1)).await;
    ann.say(&group, "a-1", "said later").await.ok(201);
    // The store remembers the name, and keeps the number of the repeat empty.
    assert_eq!(ann.say(&group, "a-0", "said before").await.ok(200)["duplicate"], true);
    stack.settle().await;
    let mut to_ann = ann.socket().await;
    let head =
        ann.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"]["head_seq"].as_u64().unwrap();
    let from = |seq: u64| {
        let group = group.clone();
        move |frame: &mut Value| frame["cursor"] = json!({ group.clone(): seq })
    };
    let mut resuming = ann.connect().path("/ws?resume=true").open().await.unwrap();
    resuming.ready_unseen().await;
    resuming.send(&tape.example("resume", 0, here, from(head - 1))).await;
    tape.hear_type(&mut resuming, "void").await;
    tape.hear_type(&mut resuming, "resumed").await;
    // Of events that the server has not, as if the log had lost them.
    let mut ahead = ann.connect().path("/ws?resume=true").open().await.unwrap();
    ahead.ready_unseen().await;
    ahead.send(&tape.example("resume", 1, here, from(head + 5))).await;
    tape.hear_type(&mut ahead, "rewound").await;
    tape.hear_type(&mut ahead, "resumed").await;
    let mut accepted = sealpost_testing::message(&group, "m-1", "no hurry");
    accepted["ack"] = json!("accepted");
    to_ann.send(&accepted).await;
    tape.hear_type(&mut to_ann, "stored").await;
    for number in 0..6 {
        to_ann.say(&group, &format!("b-{number}"), "and on").await;
    }
    to_ann.say(&group, "last", "see you tomorrow").await;
    stack.settle().await;
    let mut fresh = Connect::to(&ann.api.base).open().await.unwrap();
    fresh.view.start_at(&json!({ "conversations": [{ "conversation_id": group, "head_seq": 1 }] }));
    let token = ann.access_token.clone();
    let fit = |frame: &mut Value| {
        from(1)(frame);
        frame["token"] = json!(token);
    };
    fresh.send(&tape.example("authenticate", 0, here, fit)).await;
    for kind in ["gap", "snapshot", "resumed"] {
        tape.hear_type(&mut fresh, kind).await;
    }
}

async fn a_channel(stack: &Stack, tape: &mut Tape, ann: &User) {
    let mut to_ann = ann.socket().await;
    let body = json!({ "kind": "channel", "participants": [], "title": "Harbour" });
    let channel = text(&ann.post("/api/conversations", body).await.ok(201)["id"]);
    let path = format!("/api/conversations/{channel}");
    let set = json!({ "rights": { "post": "admin" }, "history": "since_joining", "public_name": "harbour", "open_reading": true });
    ann.request("PATCH", &path, json!({ "rights": { "post": "owner" } })).await.ok(200);
    ann.request("PATCH", &path, set).await.ok(200);
    tape.hear(&mut to_ann, "the settings", |frame| frame["public"].is_object()).await;
    let mut reader = Connect::to(&stack.url(1)).path("/ws/public/harbour").open().await.unwrap();
    reader.send(&tape.example("subscribe", 0, [&channel, MESSAGE], |_| {})).await;
    tape.hear_type(&mut reader, "subscribed").await;
    let sent = ann.say(&channel, "m-1", "Hello!").await.ok(201);
    tape.hear_type(&mut reader, "channel_message").await;
    ann.delete(&format!("/api/messages/{}", text(&sent["message_id"]))).await.ok(204);
    tape.hear_type(&mut reader, "channel_message_deleted").await;
    reader.send(&json!({ "type": "message", "text": "May I?" })).await;
    tape.hear_type(&mut reader, "error").await;
    reader.send(&tape.example("ping", 0, [&channel, MESSAGE], |_| {})).await;
    tape.hear_type(&mut reader, "pong").await;
}
