//! The load generator against a stand-in for the server that speaks the protocol, faultlessly or with a fault: what it
//! counts has to be what happened.
#![expect(clippy::unwrap_used, reason = "a stand-in may fall over whatever is wrong")]

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Json, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, post};
use axum::serve::ListenerExt as _;
use axum::{Router, response::Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

/// What the stand-in does wrong, once, with the tenth message of each conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Sends it twice.
    Repeat,
    /// Acknowledges it, but does not deliver it.
    Lose,
    /// Delivers it after the eleventh.
    Swap,
    /// Answers with an error.
    Refuse,
}

#[derive(Clone)]
struct Server(Arc<Mutex<Rooms>>, Fault);

type Connections = Vec<(Uuid, mpsc::Sender<String>)>;

#[derive(Default)]
struct Rooms {
    conversations: HashMap<Uuid, Room>,
    connections: Connections,
}

struct Room {
    members: [Uuid; 2],
    seq: u64,
    held: Option<String>,
}

impl Server {
    fn rooms<T>(&self, use_them: impl FnOnce(&mut Rooms) -> T) -> T {
        use_them(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts it; the URL.
async fn stand_in(fault: Fault) -> String {
    let routes = Router::new()
        .route("/api/auth/signup", post(sign_up))
        .route("/api/conversations", post(create_conversation))
        .route("/ws", any(web_socket))
        .with_state(Server(Arc::default(), fault));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let listener = listener.tap_io(|tcp| tcp.set_nodelay(true).unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

/// The access token is the user's id.
async fn sign_up(Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    assert!(body["password"].as_str().unwrap().len() >= 12);
    let id = Uuid::new_v4();
    let reply = json!({ "user": { "id": id }, "session_id": Uuid::new_v4(), "access_token": id, "refresh_token": "r", "expires_in": 900 });
    (StatusCode::CREATED, Json(reply))
}

fn user(headers: &HeaderMap) -> Uuid {
    headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().parse().unwrap()
}

async fn create_conversation(
    State(server): State<Server>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let members = [user(&headers), body["participants"][0].as_str().unwrap().parse().unwrap()];
    let id = Uuid::new_v4();
    server.rooms(|rooms| rooms.conversations.insert(id, Room { members, seq: 1, held: None }));
    (StatusCode::CREATED, Json(json!({ "id": id })))
}

async fn web_socket(State(server): State<Server>, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    let user = user(&headers);
    upgrade.on_upgrade(move |socket| connection(server, user, socket))
}

async fn connection(server: Server, user: Uuid, mut socket: WebSocket) {
    let (sender, mut frames) = mpsc::channel(10_000);
    let heads = server.rooms(|rooms| {
        rooms.connections.push((user, sender.clone()));
        let own = rooms.conversations.iter().filter(|(_, room)| room.members.contains(&user));
        own.map(|(id, room)| json!({ "conversation_id": id, "head_seq": room.seq })).collect::<Vec<_>>()
    });
    let ready = json!({ "type": "ready", "user_id": user, "session_id": user, "heartbeat_seconds": 20, "conversations": heads });
    let mut next = Some(ready.to_string());
    loop {
        if let Some(frame) = next.take() {
            if socket.send(Message::text(frame)).await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            frame = frames.recv() => next = frame,
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    let answer = server.rooms(|rooms| take(rooms, &frame, user, server.1));
                    let _ = sender.try_send(answer);
                }
                Some(Ok(_)) => {}
                _ => return,
            }
        }
    }
}

/// Delivers a message to both members; the answer for its sender.
fn take(rooms: &mut Rooms, frame: &Value, user: Uuid, fault: Fault) -> String {
    assert_eq!((frame["type"].as_str(), frame["ack"].as_str()), (Some("message"), Some("stored")));
    let id: Uuid = frame["conversation_id"].as_str().unwrap().parse().unwrap();
    let client_id = frame["client_message_id"].as_str().unwrap();
    let room = rooms.conversations.get_mut(&id).unwrap();
    let tenth = client_id.ends_with("-9");
    if tenth && fault == Fault::Refuse {
        let problem =
            json!({ "type": "urn:sealpost:problem:invalid", "title": "No", "status": 422, "detail": "tenth" });
        return json!({ "type": "error", "problem": problem, "client_message_id": client_id }).to_string();
    }
    room.seq += 1;
    let (seq, message) = (room.seq, Uuid::new_v4());
    let event = format!(
        r#"{{"type":"message","conversation_id":"{id}","seq":{seq},"message_id":"{message}","client_message_id":"{client_id}","sender_id":"{user}","created_at":"2026-01-02T03:04:05Z","text":{}}}"#,
        frame["text"]
    );
    let events = match (tenth, fault) {
        (true, Fault::Lose) => vec![],
        (true, Fault::Repeat) => vec![event.clone(), event],
        (true, Fault::Swap) => {
            room.held = Some(event);
            vec![]
        }
        _ => [Some(event), room.held.take()].into_iter().flatten().collect(),
    };
    for (member, connection) in rooms.connections.iter().filter(|(member, _)| room.members.contains(member)) {
        for event in &events {
            connection.try_send(event.clone()).unwrap_or_else(|error| panic!("{member}: {error}"));
        }
    }
    format!(
        r#"{{"type":"message_ack","client_message_id":"{client_id}","conversation_id":"{id}","message_id":"{message}","seq":{seq},"level":"stored","stored":true,"duplicate":false}}"#
    )
}

/// Runs the program; whether it was satisfied, and its JSON.
async fn bench(url: &str, arguments: &[&str]) -> (bool, Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealpost-bench"));
    command.args(arguments).args(["--url", url, "--pid", &format!("stand-in={}", std::process::id())]);
    command.arg("--json").arg(&file);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.success(), serde_json::from_str(&text).unwrap())
}

const SHORT: [&str; 11] =
    ["dm", "--pairs", "3", "--in-flight", "4", "--seconds", "1", "--warmup", "0", "--patience", "2"];

async fn faults(fault: Fault) -> (bool, [u64; 5]) {
    let (satisfied, report) = bench(&stand_in(fault).await, &SHORT).await;
    assert!(report["sent"].as_u64().unwrap() > 60, "{report}");
    let names = ["errors", "missing", "unacknowledged", "duplicates", "order_violations"];
    (satisfied, names.map(|name| report[name].as_u64().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faultless_server_gets_no_faults_and_plausible_figures() {
    let (satisfied, report) = bench(&stand_in(Fault::None).await, &SHORT).await;
    assert!(satisfied, "{report}");
    let figure = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}"));
    assert!(figure("/delivered_per_second") > 60.0 && figure("/stored_per_second") > 60.0, "{report}");
    for kind in ["delivery_ms", "stored_ms"] {
        let [p50, p90, p99, max] = ["p50", "p90", "p99", "max"].map(|name| figure(&format!("/{kind}/{name}")));
        assert!(0.0 < p50 && p50 <= p90 && p90 <= p99 && p99 <= max && max < 1000.0, "{report}");
    }
    assert!(figure("/servers/0/cpu_seconds") > 0.0 && figure("/servers/0/rss_mib") > 1.0, "{report}");
    assert!(figure("/generator_cpu_us_per_message") > 0.0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_message_is_a_duplicate_and_breaks_the_order() {
    // Both connections of each of the three pairs see the repeated seq.
    assert_eq!(faults(Fault::Repeat).await, (false, [0, 0, 0, 3, 6]));
}

/// Waits as long as the generator does for what is still on its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_message_is_missing_and_leaves_a_gap() {
    assert_eq!(faults(Fault::Lose).await, (false, [0, 3, 0, 0, 6]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_message_breaks_the_order_only() {
    let (satisfied, [errors, missing, unacknowledged, duplicates, violations]) = faults(Fault::Swap).await;
    assert_eq!((satisfied, errors, missing, unacknowledged, duplicates), (false, 0, 0, 0, 0));
    // One for the gap and one for the late seq, on six connections.
    assert_eq!(violations, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_is_an_error_and_not_missing() {
    assert_eq!(faults(Fault::Refuse).await, (false, [3, 0, 0, 0, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_opened_and_stay() {
    let (satisfied, report) = bench(&stand_in(Fault::None).await, &["idle", "--connections", "60"]).await;
    assert!(satisfied, "{report}");
    assert_eq!((&report["connections"], &report["open"]), (&json!(60), &json!(60)));
    assert_eq!(report["growth_kib_per_connection"][0]["name"], "stand-in");
}
