//! Cases that need a stack of their own: other settings, or an end.

use sealpost_testing::{Form, Settings, Socket, Stack, User, check_history, eventually, files_with, program, unique};
use serde_json::{Value, json};

async fn an_expired_token_is_told_from_a_wrong_one(form: Form) {
    let stack = Stack::start(form, Settings::default().set("SEALPOST__AUTH__ACCESS_TOKEN_SECONDS", 1)).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    eventually("the token to expire", async || {
        (ann.get("/api/auth/me").await.body["type"] == "urn:sealpost:problem:token-expired").then_some(())
    })
    .await;
    ann.get("/api/conversations").await.is_problem(401, "token-expired");
    let refused = ann.connect().open().await.err().unwrap();
    assert_eq!((refused.status, &refused.body["type"]), (401, &json!("urn:sealpost:problem:token-expired")));
    let mut socket = ann.connect().without_token().open().await.unwrap();
    socket.send(&json!({ "type": "authenticate", "token": ann.access_token })).await;
    assert_eq!(socket.wait_for_type("error").await["problem"]["type"], "urn:sealpost:problem:token-expired");
    assert_eq!(socket.wait_for_close().await, Some(4401));
    let next = ann.api.post("/api/auth/refresh", &json!({ "refresh_token": ann.refresh_token })).await.ok(200);
    let token = next["access_token"].as_str().unwrap();
    // It may have expired on the way, but it is another one.
    let reply = ann.api.request("GET", "/api/auth/me", Some(token), &Value::Null).await;
    assert!(reply.status == 200 || reply.body["type"] == "urn:sealpost:problem:token-expired", "{reply}");
    assert_ne!(token, ann.access_token);
}

#[tokio::test]
async fn an_expired_token_is_told_from_a_wrong_one_embedded() {
    an_expired_token_is_told_from_a_wrong_one(Form::Embedded).await;
}

#[tokio::test]
async fn an_expired_token_is_told_from_a_wrong_one_cluster() {
    an_expired_token_is_told_from_a_wrong_one(Form::Cluster).await;
}

async fn a_graceful_restart_finds_everything(form: Form) {
    let stack = Stack::start(form, Settings::default()).await;
    let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let (mut to_ann, mut to_bob) = (ann.socket().await, bob.socket().await);
    for number in 0..20 {
        to_ann.say(&group, &format!("m-{number}"), &format!("{number}")).await;
    }
    let mut last = sealpost_testing::message(&group, "last", "just before");
    last["ack"] = json!("accepted");
    to_bob.send(&last).await;
    to_bob.wait_for_type("message_ack").await;
    let before = ann.history(&group).await;
    stack.processes().for_each(sealpost_testing::Process::ask_to_stop);
    for socket in [&mut to_ann, &mut to_bob] {
        assert_eq!(socket.wait_for_close().await, Some(1001));
    }
    for process in stack.processes() {
        let status = process.wait_for_end();
        assert_eq!(status.code(), Some(0), "{} ended with {status}", process.name());
    }
    stack.launch();
    stack.ready().await;
    assert_eq!(before.len(), 21);
    assert_eq!(ann.history(&group).await, before);
    assert_eq!(ann.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"]["title"], "A group");
    let mut back = bob.connect().view(to_bob.view).resume().await.unwrap();
    let ack = back.say(&group, "new", "numbering goes on").await;
    assert_eq!(ack["seq"], before.last().unwrap().seq + 1);
    // A repeat is known from before the restart.
    let repeat = json!({ "client_message_id": "m-0", "text": "0", "retry": true });
    let repeat = ann.post(&format!("/api/conversations/{group}/messages"), repeat).await.ok(200);
    assert_eq!(repeat["seq"], before[0].seq);
    check_history(&ann, &group, &mut []).await;
    stack.settle().await;
}

#[tokio::test]
async fn a_graceful_restart_finds_everything_embedded() {
    a_graceful_restart_finds_everything(Form::Embedded).await;
}

#[tokio::test]
async fn a_graceful_restart_finds_everything_cluster() {
    a_graceful_restart_finds_everything(Form::Cluster).await;
}

/// A text that no part but gateways and clients may see, in no form that a search finds.
async fn plaintext_is_nowhere(form: Form) {
    let stack = Stack::start(form, Settings::default().own_postgres().set("RUST_LOG", "debug")).await;
    let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 1, "bob").await);
    let (text, title) = (unique("canary-text-"), unique("canary-title-"));
    let body = json!({ "kind": "group", "participants": [bob.id], "title": title });
    let group = ann.post("/api/conversations", body).await.ok(201)["id"].as_str().unwrap().to_owned();
    let (mut to_ann, mut to_bob) = (ann.socket().await, bob.socket().await);
    for number in 0..10 {
        to_ann.say(&group, &format!("m-{number}"), &text).await;
    }
    to_bob.wait_for("the text", |frame| frame["text"] == text.as_str()).await;
    // Ways on which a text might get into a log: it is refused, repeated, or part of what cannot be read.
    to_ann.refused(&json!({ "type": "message", "conversation_id": group, "text": text, "wrong": text })).await;
    to_ann.refused(&json!({ "type": text })).await;
    ann.say(&group, "m-0", &format!("{text} otherwise")).await.is_problem(409, "client-message-id-reused");
    ann.post(&format!("/api/conversations/{group}/messages"), json!({ "text": text })).await.is_problem(422, "invalid");
    // And a token, in an address.
    let path = format!("/ws?token={}", ann.access_token);
    assert_eq!(ann.connect().without_token().path(&path).open().await.err().unwrap().status, 422);
    ann.api.get(&format!("/api/auth/me?token={}", ann.access_token)).await.is_problem(401, "unauthenticated");
    assert_eq!(bob.history(&group).await[0].text.as_ref(), Some(&text));
    assert_eq!(bob.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"]["title"], title);
    stack.settle().await;
    // With everything that the search index keeps of it.
    eventually("the texts to be found", async || {
        let found = bob.get(&format!("/api/search?q={text}&conversation_id={group}")).await.ok(200);
        (found["results"].as_array()?.len() == 10).then_some(())
    })
    .await;

    let secrets = [&text, &title, &ann.password, &ann.access_token, &ann.refresh_token];
    let dump = if form == Form::Cluster { stack.database().dump().await } else { String::new() };
    // That the search finds what is there.
    assert!(form == Form::Embedded || dump.contains(&ann.username));
    assert!(!files_with(stack.folder(), ann.username.as_bytes()).is_empty() || form == Form::Cluster);
    assert!(!files_with(stack.folder(), group.replace('-', "").as_bytes()).is_empty());
    for secret in secrets {
        assert!(!dump.contains(secret), "{secret} is in the database");
        assert_eq!(files_with(stack.folder(), secret.as_bytes()), Vec::<std::path::PathBuf>::new(), "{secret}");
        if form == Form::Cluster {
            let files = files_with(stack.database().folder(), secret.as_bytes());
            assert_eq!(files, Vec::<std::path::PathBuf>::new(), "{secret}");
        }
    }
}

#[tokio::test]
async fn plaintext_is_nowhere_embedded() {
    plaintext_is_nowhere(Form::Embedded).await;
}

#[tokio::test]
async fn plaintext_is_nowhere_cluster() {
    plaintext_is_nowhere(Form::Cluster).await;
}

/// Ann looks at the dm with Bob, who is there.
async fn ann_sees_bob(stack: &Stack) -> (Socket, Socket, User) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let (mut to_ann, to_bob) = (ann.socket().await, bob.socket().await);
    to_ann.send(&json!({ "type": "watch", "conversation_ids": [dm] })).await;
    until_seen_as(&mut to_ann, &bob, "online").await;
    (to_ann, to_bob, bob)
}

async fn until_seen_as(socket: &mut Socket, user: &User, status: &str) {
    let fits = |frame: &Value| {
        let mut users = frame["users"].as_array().into_iter().flatten();
        users.any(|one| one["user_id"] == user.id && one["status"] == status)
    };
    socket.wait_for(status, fits).await;
}

async fn a_vanished_connection_is_seen_as_offline(form: Form) {
    let stack = Stack::start(form, Settings::default().set("SEALPOST__GATEWAY__HEARTBEAT_SECONDS", 1)).await;
    // Open, and nobody reads it: as when the other end lost its network.
    let (mut to_ann, mut vanished, bob) = ann_sees_bob(&stack).await;
    until_seen_as(&mut to_ann, &bob, "offline").await;
    assert_eq!(vanished.wait_for_close().await, Some(4000));
}

#[tokio::test]
async fn a_vanished_connection_is_seen_as_offline_embedded() {
    a_vanished_connection_is_seen_as_offline(Form::Embedded).await;
}

#[tokio::test]
async fn a_vanished_connection_is_seen_as_offline_cluster() {
    a_vanished_connection_is_seen_as_offline(Form::Cluster).await;
}

#[tokio::test]
async fn the_users_of_a_killed_gateway_are_seen_as_offline() {
    let stack = Stack::start(Form::Cluster, Settings::default()).await;
    let (mut to_ann, _to_bob, bob) = ann_sees_bob(&stack).await;
    stack.process("gateway-2").kill();
    until_seen_as(&mut to_ann, &bob, "offline").await;
}

/// How many messages somebody finds, or why they cannot search.
async fn finds(user: &User, word: &str) -> Result<usize, String> {
    let reply = user.get(&format!("/api/search?q={word}&limit=50")).await;
    if reply.status == 200 {
        return Ok(reply.body["results"].as_array().unwrap().len());
    }
    Err(reply.body["type"].as_str().unwrap().to_owned())
}

async fn the_operator_empties_the_index_and_makes_it_anew(form: Form) {
    let stack = Stack::start(form, Settings::default()).await;
    let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 1, "bob").await);
    let (one, other) = (ann.group(&[&bob]).await, ann.dm(&bob).await);
    for number in 0..30 {
        let group = if number % 3 == 0 { &other } else { &one };
        ann.say(group, &format!("m-{number}"), &format!("anchor number{number}")).await.ok(201);
    }
    eventually("all to be found", async || (finds(&bob, "anchor").await == Ok(30)).then_some(())).await;
    let before = bob.get("/api/search?q=anchor&limit=50").await.ok(200);
    stack.settle().await;
    let done = stack.run(&["search", "drop"]);
    assert!(done.starts_with("the index is empty; 30 messages were in it"), "{done}");
    assert_eq!(stack.count("SELECT count(*) FROM search_terms").await, 0);
    assert_eq!(finds(&bob, "anchor").await, Ok(0));
    // What is new is indexed; the rest comes back by hand, one conversation or all, while the servers run.
    ann.say(&one, "m-new", "anchor new").await.ok(201);
    eventually("the new one to be found", async || (finds(&bob, "anchor").await == Ok(1)).then_some(())).await;
    let done = stack.run(&["search", "rebuild", "--conversation", &one]);
    assert!(done.starts_with("21 messages looked at, 20 indexed"), "{done}");
    assert_eq!(finds(&bob, "anchor").await, Ok(21));
    let done = stack.run(&["search", "rebuild", "--fast"]);
    assert!(done.starts_with("31 messages looked at, 10 indexed"), "{done}");
    let mut after = bob.get("/api/search?q=anchor&limit=50").await.ok(200);
    let new = after["results"].as_array_mut().unwrap().remove(0);
    assert_eq!((new["message"]["text"].as_str(), &after), (Some("anchor new"), &before));
    let missing = uuid::Uuid::now_v7().to_string();
    let refused = stack.fails(&["search", "rebuild", "--conversation", &missing]);
    assert!(refused.contains("there is no conversation"), "{refused}");
}

#[tokio::test]
async fn the_operator_empties_the_index_and_makes_it_anew_embedded() {
    the_operator_empties_the_index_and_makes_it_anew(Form::Embedded).await;
}

#[tokio::test]
async fn the_operator_empties_the_index_and_makes_it_anew_cluster() {
    the_operator_empties_the_index_and_makes_it_anew(Form::Cluster).await;
}

async fn search_can_be_switched_off(form: Form) {
    let stack = Stack::start(form, Settings::default().set("SEALPOST__SEARCH__ENABLED", false)).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let group = ann.group(&[]).await;
    let sent = ann.say(&group, "m-1", "the anchor").await.ok(201);
    ann.get("/api/search?q=anchor").await.is_problem(409, "search-off");
    let refused = stack.fails(&["search", "rebuild"]);
    assert!(refused.contains("search is switched off"), "{refused}");
    assert!(stack.run(&["search", "drop"]).starts_with("the index is empty; 0 messages"));
    ann.delete(&format!("/api/messages/{}", sent["message_id"].as_str().unwrap())).await.ok(204);
    stack.settle().await;
    for table in ["search_terms", "search_messages"] {
        assert_eq!(stack.count(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
}

#[tokio::test]
async fn search_can_be_switched_off_embedded() {
    search_can_be_switched_off(Form::Embedded).await;
}

#[tokio::test]
async fn search_can_be_switched_off_cluster() {
    search_can_be_switched_off(Form::Cluster).await;
}

/// Without the third key everything else works.
#[tokio::test]
async fn webhooks_without_a_key_say_what_is_missing() {
    let made = std::process::Command::new(program()).args(["keys", "generate"]).output().unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    let mut settings = Settings::default();
    for (name, value) in made.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| *name != "WEBHOOK_KEY")
    {
        settings = settings.set(name, value);
    }
    let stack = Stack::start(Form::Embedded, settings).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let group = ann.group(&[]).await;
    let refused = ann.post("/api/webhooks", json!({ "url": "https://example.org/", "conversation_id": group })).await;
    refused.is_problem(409, "webhooks-off");
    assert!(refused.body["detail"].as_str().unwrap().contains("WEBHOOK_KEY"), "{refused}");
    assert_eq!(ann.get("/api/webhooks").await.ok(200)["webhooks"], json!([]));
    ann.say(&group, "m-1", "Everything else works.").await.ok(201);
}
