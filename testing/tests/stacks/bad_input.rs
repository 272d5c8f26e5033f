//! What is wrong is named, each mistake by a type of its own; and nothing ends the server.

use sealpost_testing::{Api, Incoming, Stack, User, message};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;

pub async fn each_mistake_over_rest_has_its_own_problem(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let messages = format!("/api/conversations/{dm}/messages");
    let nobody = uuid::Uuid::now_v7();
    let dm_with_nobody = json!({ "kind": "dm", "participants": [nobody] });
    ann.post("/api/conversations", dm_with_nobody).await.is_problem(404, "unknown-recipient");
    ann.post("/api/conversations", json!({ "kind": "dm", "participants": [ann.id] })).await.is_problem(422, "invalid");
    for text in ["", " ", "\n\t"] {
        ann.say(&dm, "m-1", text).await.is_problem(422, "empty-text");
    }
    ann.say(&dm, "m-1", &"x".repeat(16_385)).await.is_problem(422, "text-too-long");
    ann.say(&dm, "m-1", &"ä".repeat(8_193)).await.is_problem(422, "text-too-long");
    ann.say(&dm, "m-0", &"x".repeat(16_384)).await.ok(201);
    ann.say(&dm, "m-1", &"x".repeat(70_000)).await.is_problem(413, "body-too-large");
    ann.say(&dm, "m 1", "x").await.is_problem(422, "invalid");
    ann.say(&dm, &"m".repeat(65), "x").await.is_problem(422, "invalid");
    let raw = async |kind: &str, body: &str| {
        let body = Some((kind, body.as_bytes().to_vec()));
        ann.api.try_raw("POST", &messages, Some(&ann.access_token), body).await.unwrap()
    };
    raw("application/json", "{\"text\":").await.is_problem(400, "malformed");
    raw("text/plain", "hello").await.is_problem(415, "unsupported-media-type");
    raw("application/json", "{}").await.is_problem(422, "invalid");
    raw("application/json", r#"{"client_message_id":"m-1","text":"x","colour":"red"}"#)
        .await
        .is_problem(422, "invalid");
    ann.request("PUT", &messages, json!({})).await.is_problem(405, "method-not-allowed");
    ann.get("/api/nothing").await.is_problem(404, "not-found");
    ann.get("/api/conversations/not-an-id").await.is_problem(404, "not-found");
    ann.get(&format!("{messages}?limit=0")).await.is_problem(422, "invalid");
    ann.get(&format!("{messages}?colour=red")).await.is_problem(422, "invalid");
    let taken = json!({ "username": bob.username, "password": "long enough, really" });
    ann.api.post("/api/auth/signup", &taken).await.is_problem(409, "username-taken");
    let weak = json!({ "username": sealpost_testing::unique("eve"), "password": "short" });
    ann.api.post("/api/auth/signup", &weak).await.is_problem(422, "weak-password");
    for name in [&bob.username, &sealpost_testing::unique("nobody")] {
        let wrong = json!({ "username": name, "password": "not the password" });
        ann.api.post("/api/auth/signin", &wrong).await.is_problem(401, "wrong-credentials");
    }
    ann.api.post("/api/auth/refresh", &json!({ "refresh_token": "made up" })).await.is_problem(401, "refresh-refused");
    assert_eq!(ann.history(&dm).await.len(), 1);
}

pub async fn each_mistake_over_the_socket_has_its_own_problem(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let mut socket = ann.socket().await;
    let too_large = json!({ "type": "ping", "filler": "x".repeat(70_000) });
    let cases: [(Value, &str); 9] = [
        (message(&uuid::Uuid::now_v7().to_string(), "m-1", "x"), "not-found"),
        (message(&dm, "m-1", ""), "empty-text"),
        (message(&dm, "m-1", &"x".repeat(16_385)), "text-too-long"),
        (message("not-an-id", "m-1", "x"), "malformed"),
        (json!({ "type": "sing" }), "unknown-frame"),
        (json!({ "text": "no type" }), "malformed"),
        (json!([1, 2]), "malformed"),
        (json!({ "type": "resume", "cursor": {} }), "malformed"),
        (too_large, "frame-too-large"),
    ];
    for (frame, name) in cases {
        let problem = socket.refused(&frame).await;
        assert_eq!(problem["type"], sealpost_testing::problem(name), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
    assert!(socket.try_send_raw(Message::text("no JSON")).await);
    assert_eq!(socket.wait_for_type("error").await["problem"]["type"], "urn:sealpost:problem:malformed");
    // The connection has survived all of it.
    socket.say(&dm, "m-1", "all is well").await;
    let error = {
        socket.send(&message(&dm, "m-2", "")).await;
        socket.wait_for_type("error").await
    };
    assert_eq!(error["client_message_id"], "m-2", "{error}");
    assert_eq!(bob.history(&dm).await.len(), 1);
}

pub async fn a_seq_out_of_range_is_refused_everywhere(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    ann.say(&dm, "m-1", "two events").await.ok(201);
    let conversation = format!("/api/conversations/{dm}");
    for query in ["before=0", "before=9223372036854775808", "after=9223372036854775808"] {
        let reply = ann.get(&format!("{conversation}/messages?{query}")).await;
        reply.is_problem(422, "seq-out-of-range");
    }
    for seq in [3_u64, 1 << 40, u64::MAX] {
        let reply = ann.request("PUT", &format!("{conversation}/read"), json!({ "seq": seq })).await;
        reply.is_problem(422, "seq-out-of-range");
    }
    let mut socket = ann.socket().await;
    for seq in [3_u64, u64::MAX] {
        let read = json!({ "type": "message_read", "conversation_id": dm, "seq": seq });
        assert_eq!(socket.refused(&read).await["type"], "urn:sealpost:problem:seq-out-of-range");
    }
    for seq in [3_u64, u64::MAX] {
        let mut resuming = ann.connect().path("/ws?resume=true").open().await.unwrap();
        resuming.ready().await;
        let head = ann.get(&conversation).await.ok(200)["conversation"]["head_seq"].as_u64().unwrap();
        resuming.send(&json!({ "type": "resume", "cursor": { dm.clone(): seq } })).await;
        let rewound = resuming.wait_for_type("rewound").await;
        assert!(rewound["conversation_id"] == dm && rewound["after_seq"].as_u64() >= Some(head), "{rewound}");
        // Live events go on all the same.
        resuming.wait_for_type("resumed").await;
        let sent = bob.say(&dm, &format!("b-{seq}"), "live").await.ok(201);
        resuming.wait_for("the message", |frame| frame["seq"] == sent["seq"] && frame["type"] == "message").await;
    }
}

fn deep(levels: usize) -> String {
    format!("{}1{}", "[".repeat(levels), "]".repeat(levels))
}

pub async fn hostile_bodies_get_an_answer(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let bodies: [Vec<u8>; 8] = [
        deep(10_000).into_bytes(),
        format!(r#"{{"client_message_id":"m-1","text":{}}}"#, deep(10_000)).into_bytes(),
        br#"{"client_message_id":"m-1","text":1e999999}"#.to_vec(),
        format!(r#"{{"seq":{}}}"#, "9".repeat(5_000)).into_bytes(),
        b"{\"client_message_id\":\"m-1\",\"text\":\"\xff\xfe\"}".to_vec(),
        br#"{"client_message_id":"m-1","text":"\ud800"}"#.to_vec(),
        br#"{"client_message_id":"m-1","text":"a","text":"b"}"#.to_vec(),
        vec![0; 1_000],
    ];
    for body in bodies {
        for path in ["messages", "read"] {
            let (method, path) =
                (if path == "read" { "PUT" } else { "POST" }, format!("/api/conversations/{dm}/{path}"));
            let reply =
                ann.api.try_raw(method, &path, Some(&ann.access_token), Some(("application/json", body.clone()))).await;
            let reply = reply.expect("an answer");
            assert!((400..500).contains(&reply.status), "{reply}");
            assert_eq!(reply.content_type, "application/problem+json", "{reply}");
        }
    }
    assert_eq!(ann.history(&dm).await.len(), 0);
    Api::new(&stack.url(0)).get("/healthz").await.ok(200);
}

pub async fn hostile_frames_get_an_error_or_a_close(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    // So that the next frame of each connection answers what it sent.
    stack.settle().await;
    let frames = [
        Message::text(deep(10_000)),
        Message::text(format!(r#"{{"type":"message","text":{}}}"#, deep(10_000))),
        Message::text(format!(r#"{{"type":"message_read","conversation_id":"{dm}","seq":{}}}"#, "9".repeat(5_000))),
        Message::text(r#"{"type":"ping","id":-1}"#),
        Message::text(r#"{"type":"ping","id":1e400}"#),
        Message::text(""),
        Message::text("\0"),
        Message::binary(vec![0xff; 100]),
        Message::text("x".repeat(1_000_000)),
    ];
    for frame in frames {
        let mut socket = ann.socket().await;
        let shown = format!("{frame:.80?}");
        // A server that closes at once may do so while this is still being sent.
        let _ = socket.try_send_raw(frame).await;
        match socket.next().await {
            Incoming::Frame(answer) => assert_eq!(answer["type"], "error", "{shown}: {answer}"),
            Incoming::Closed(_) => {}
        }
    }
    // A text frame, masked with zeros, whose two bytes are no UTF-8.
    let mut socket = ann.socket().await;
    socket.tcp().write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]).await.unwrap();
    if let Incoming::Frame(answer) = socket.next().await {
        assert_eq!(answer["type"], "error", "{answer}");
    }
    // Bad frames without end.
    let mut socket = ann.socket().await;
    for _ in 0..100 {
        if !socket.try_send(&json!({ "type": "sing" })).await {
            break;
        }
    }
    assert_eq!(socket.wait_for_close().await, Some(4400));
    let mut socket = ann.socket().await;
    socket.say(&dm, "m-1", "all is well").await;
    Api::new(&stack.url(0)).get("/healthz").await.ok(200);
}
