//! How much one client can take.

use sealpost_testing::{Api, Form, Settings, Socket, Stack, User, eventually, message, unique};
use serde_json::{Value, json};

/// A Sealpost that believes what its clients write into `X-Forwarded-For`.
fn behind_a_proxy() -> Settings {
    Settings::default().set("SEALPOST__GATEWAY__TRUSTED_PROXIES", "127.0.0.1")
}

#[tokio::test]
async fn a_user_beyond_the_rate_is_told_when_to_come_again() {
    let settings = behind_a_proxy()
        .set("SEALPOST__LIMITS__WRITES_PER_SECOND", 1)
        .set("SEALPOST__LIMITS__SIGN_INS_PER_MINUTE", 3)
        .set("SEALPOST__LIMITS__BURST", 3600);
    let stack = Stack::start(Form::Embedded, settings).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let bob = User { api: ann.api.forwarded("192.0.2.1"), ..User::sign_up(&stack, 0, "bob").await };
    let first = ann.get("/api/auth/me").await;
    assert_eq!(first.header("ratelimit-policy"), "\"read\";q=720000;w=3600", "{first}");
    assert!(first.header("ratelimit").starts_with("\"read\";r=719999"), "{}", first.header("ratelimit"));
    // So many at once that the rate cannot make up for it.
    let mut refused = None;
    for _ in 0..20_000 {
        let reply = ann.request("PUT", &format!("/api/conversations/{}/read", ann.id), json!({ "seq": 1 })).await;
        if reply.status != 404 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("there is a limit");
    refused.is_problem(429, "too-many-requests");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!(seconds >= 1 && refused.body["retry_after"] == seconds, "{refused}");
    assert_eq!(refused.header("ratelimit"), "\"write\";r=0");
    // Reading is counted by itself, and so is everybody else.
    ann.get("/api/auth/me").await.ok(200);
    bob.request("PUT", &format!("/api/conversations/{}/read", bob.id), json!({ "seq": 1 })).await.ok(404);
}

/// RELIABILITY.md 3.6, number 21: spraying passwords, and locking others out.
#[tokio::test]
async fn attack_21_failures_delay_strangers_and_lock_nobody_out() {
    let stack = Stack::start(Form::Embedded, behind_a_proxy().set("SEALPOST__LIMITS__FREE_FAILURES", 3)).await;
    let plain = Api::new(&stack.url(0));
    let (home, username, password) = (plain.forwarded("192.0.2.1"), unique("ann"), unique("pass word "));
    let account = json!({ "username": username, "password": password });
    home.post("/api/auth/signup", &account).await.ok(201);
    let wrong = json!({ "username": username, "password": "not the password" });
    // One stranger, then many.
    let stranger = plain.forwarded("198.51.100.1");
    for _ in 0..3 {
        stranger.post("/api/auth/signin", &wrong).await.is_problem(401, "wrong-credentials");
    }
    let delayed = stranger.post("/api/auth/signin", &account).await;
    delayed.is_problem(429, "too-many-requests");
    assert!(!delayed.header("retry-after").is_empty());
    let mut refused = 0;
    for number in 2..60 {
        let reply = plain.forwarded(&format!("198.51.100.{number}")).post("/api/auth/signin", &wrong).await;
        refused += u32::from(reply.status == 429);
    }
    assert!(refused > 30, "{refused} of 58");
    // Whoever has signed in from here before is let in.
    home.post("/api/auth/signin", &account).await.ok(200);
    // The same for a name that nobody has.
    let nobody = json!({ "username": unique("nobody"), "password": "not the password" });
    let prober = plain.forwarded("203.0.113.1");
    let statuses = futures_util::future::join_all((0..4).map(|_| prober.post("/api/auth/signin", &nobody))).await;
    assert_eq!(statuses.iter().filter(|reply| reply.status == 429).count(), 1);
}

#[tokio::test]
async fn sign_ins_are_counted_by_address() {
    let settings = behind_a_proxy().set("SEALPOST__LIMITS__SIGN_INS_PER_MINUTE", 1).set("SEALPOST__LIMITS__BURST", 4);
    let stack = Stack::start(Form::Embedded, settings).await;
    let plain = Api::new(&stack.url(0));
    let (one, other) = (plain.forwarded("192.0.2.1"), plain.forwarded("192.0.2.2"));
    let body = json!({ "refresh_token": "x" });
    let replies = futures_util::future::join_all((0..8).map(|_| one.post("/api/auth/refresh", &body))).await;
    let (refused, let_in): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 429);
    assert_eq!((refused.len(), let_in.len()), (4, 4));
    for reply in &let_in {
        reply.is_problem(401, "refresh-refused");
        assert!(reply.header("ratelimit-policy").starts_with("\"sign-in\";q=4"));
    }
    other.post("/api/auth/refresh", &body).await.is_problem(401, "refresh-refused");
    // An `Authorization` header does not make it another kind of request.
    let reply = one.request("POST", "/api/auth/refresh", Some("x"), &body).await;
    reply.is_problem(429, "too-many-requests");
}

/// Sends so many messages at once; how many were taken, and the errors of the others.
async fn flood(socket: &mut Socket, conversation: &str, prefix: &str, count: usize) -> (usize, Vec<Value>) {
    for number in 0..count {
        socket.send(&message(conversation, &format!("{prefix}-{number}"), "again")).await;
    }
    let (mut taken, mut refused) = (0, Vec::new());
    while taken + refused.len() < count {
        let answers = |frame: &Value| matches!(frame["type"].as_str(), Some("message_ack" | "error"));
        let answer = socket.wait_for("an answer to a message", answers).await;
        if answer["type"] == "error" { refused.push(answer) } else { taken += 1 }
    }
    (taken, refused)
}

/// RELIABILITY.md 3.6, number 21, on an open socket.
async fn attack_21_a_flood_of_frames_is_slowed_down(form: Form) {
    let settings = Settings::default()
        .set("SEALPOST__LIMITS__WRITES_PER_SECOND", 1)
        .set("SEALPOST__LIMITS__SIGNALS_PER_SECOND", 1)
        .set("SEALPOST__LIMITS__BURST", 15);
    let stack = Stack::start(form, settings).await;
    let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 0, "bob").await);
    let dm = ann.dm(&bob).await;
    let (mut socket, mut other, mut to_bob) = (ann.socket().await, ann.socket().await, bob.socket().await);
    let (taken, refused) = flood(&mut socket, &dm, "m", 24).await;
    assert!(taken >= 14 && !refused.is_empty(), "{taken} were taken");
    for error in &refused {
        assert_eq!(error["problem"]["type"], sealpost_testing::problem("too-many-requests"), "{error}");
        let wait = error["problem"]["retry_after_ms"].as_u64().unwrap();
        assert!((1..=1000).contains(&wait) && error["client_message_id"].is_string(), "{error}");
    }
    // On another connection and over REST it is the same user.
    let (_, refused_there) = flood(&mut other, &dm, "o", 8).await;
    assert!(!refused_there.is_empty());
    let over_rest = async || Some(ann.say(&dm, &unique("r"), "again").await).filter(|reply| reply.status == 429);
    eventually("the limit over REST", over_rest).await.is_problem(429, "too-many-requests");
    // Others are counted by themselves, and so is what changes no message.
    to_bob.say(&dm, "b-1", "from Bob").await;
    other.ping().await;
    for _ in 0..30 {
        other.send(&json!({ "type": "typing_start", "conversation_id": dm })).await;
    }
    let error = other.wait_for_type("error").await;
    assert!(error["problem"]["retry_after_ms"].is_u64(), "{error}");
    // What was refused is not there, and is taken later.
    let name = refused[0]["client_message_id"].as_str().unwrap();
    assert!(ann.history(&dm).await.iter().all(|message| message.client_message_id != name));
    eventually("the refused message", async || {
        let sent = ann.say(&dm, name, "again").await;
        (sent.status != 429).then(|| sent.ok(201))
    })
    .await;
    stack.settle().await;
}

#[tokio::test]
async fn attack_21_a_flood_of_frames_is_slowed_down_embedded() {
    attack_21_a_flood_of_frames_is_slowed_down(Form::Embedded).await;
}

#[tokio::test]
async fn attack_21_a_flood_of_frames_is_slowed_down_cluster() {
    attack_21_a_flood_of_frames_is_slowed_down(Form::Cluster).await;
}
