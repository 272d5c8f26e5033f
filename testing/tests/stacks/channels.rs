//! Public channels: found, joined, and read without an account.

use std::time::Duration;

use sealpost_testing::{Connect, Socket, Stack, User, eventually, unique};
use serde_json::{Value, json};

async fn channel(owner: &User) -> (String, String) {
    let body = json!({ "kind": "channel", "participants": [], "title": "The harbour" });
    let id = owner.post("/api/conversations", body).await.ok(201)["id"].as_str().unwrap().to_owned();
    (id, unique("ch-"))
}

async fn set(owner: &User, id: &str, body: Value) -> Value {
    owner.request("PATCH", &format!("/api/conversations/{id}"), body).await.ok(200)
}

/// A reader without an account.
async fn reader(stack: &Stack, gateway: usize, channel: &str) -> Socket {
    let connect = Connect::to(&stack.url(gateway)).path(&format!("/ws/public/{channel}"));
    let mut socket = connect.open().await.unwrap_or_else(|refused| panic!("{refused:?}"));
    socket.send(&json!({ "type": "subscribe" })).await;
    let subscribed = socket.wait_for_type("subscribed").await;
    assert_eq!(subscribed["title"], "The harbour");
    socket
}

pub async fn a_public_channel_is_found_and_joined(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let (id, name) = channel(&ann).await;
    bob.post(&format!("/api/channels/{id}/join"), json!(null)).await.is_problem(404, "not-found");
    let shown = set(&ann, &id, json!({ "public_name": name.to_uppercase() })).await;
    assert_eq!(shown["settings"]["public"], json!({ "name": name, "open_reading": false }));
    let find = async |query: &str| bob.get(&format!("/api/channels?query={query}")).await.ok(200)["channels"].clone();
    let found = find(&name[..name.len() - 1]).await;
    let expected = json!({ "id": id, "public_name": name, "title": "The harbour", "participant_count": 1, "open_reading": false, "joined": false });
    assert!(found.as_array().unwrap().contains(&expected), "{found}");

    let mut to_bob = bob.socket().await;
    assert_eq!(bob.post(&format!("/api/channels/{id}/join"), json!(null)).await.ok(201)["role"], "reader");
    bob.post(&format!("/api/channels/{id}/join"), json!(null)).await.ok(200);
    to_bob.wait_for_type("participant_added").await;
    let sent = ann.say(&id, "m-1", "welcome").await.ok(201)["seq"].as_u64().unwrap();
    to_bob.wait_for_seq(&id, sent).await;
    bob.say(&id, "b-1", "thank you").await.is_problem(403, "forbidden");
    assert_eq!(find(&name).await[0]["joined"], true);
    assert_eq!(find(&name).await[0]["participant_count"], 2);
    bob.remove(&id, &bob).await.ok(204);
    bob.post(&format!("/api/channels/{id}/join"), json!(null)).await.ok(201);

    // Names are unique, and free again when the channel goes.
    let (other, _) = channel(&bob).await;
    let taken = json!({ "public_name": name });
    bob.request("PATCH", &format!("/api/conversations/{other}"), taken.clone())
        .await
        .is_problem(409, "channel-name-taken");
    ann.delete(&format!("/api/conversations/{id}")).await.ok(204);
    assert_eq!(find(&name).await, json!([]));
    set(&bob, &other, taken).await;
    set(&bob, &other, json!({ "public_name": null })).await;
    assert_eq!(find(&name).await, json!([]));
    for wrong in [json!({ "public_name": "no" }), json!({ "public_name": "a b c" }), json!({ "open_reading": true })] {
        bob.request("PATCH", &format!("/api/conversations/{other}"), wrong).await.is_problem(422, "invalid");
    }
    let group = ann.group(&[]).await;
    let public = json!({ "public_name": unique("gr-") });
    ann.request("PATCH", &format!("/api/conversations/{group}"), public).await.is_problem(422, "invalid");
}

/// Pages of the directory, and what a search cannot be made to do.
pub async fn the_directory_is_paged(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let start = unique("d-");
    let mut names: Vec<_> = (0..5).map(|number| format!("{start}-{number}")).collect();
    for name in &names {
        let (id, _) = channel(&ann).await;
        set(&ann, &id, json!({ "public_name": name })).await;
    }
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = ann.get(&format!("/api/channels?query={start}&limit=2{after}")).await.ok(200);
        found.extend(
            page["channels"].as_array().unwrap().iter().map(|one| one["public_name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    names.sort();
    assert_eq!(found, names);
    for query in ["%25", "_", "!", "%27%20OR%201=1"] {
        let page = ann.get(&format!("/api/channels?query={query}")).await.ok(200);
        assert_eq!(page["channels"], json!([]), "{query}");
    }
    ann.get("/api/channels?limit=0").await.is_problem(422, "invalid");
    ann.get("/api/channels?after=%25").await.is_problem(422, "invalid");
}

pub async fn an_open_channel_is_read_without_an_account(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let (id, name) = channel(&ann).await;
    let refused = async |channel: &str| {
        let connect = Connect::to(&stack.url(1)).path(&format!("/ws/public/{channel}"));
        connect.open().await.err().map(|refused| (refused.status, refused.body))
    };
    let closed = refused(&id).await.unwrap();
    assert_eq!(closed.0, 404);
    set(&ann, &id, json!({ "public_name": name })).await;
    // To the letter what is said of channels that do not exist.
    assert_eq!([refused(&name).await, refused("nothing-here").await], [Some(closed.clone()), Some(closed.clone())]);
    ann.add(&id, &bob, "admin").await.ok(200);
    let open = json!({ "open_reading": true });
    bob.request("PATCH", &format!("/api/conversations/{id}"), open.clone()).await.is_problem(403, "forbidden");
    set(&ann, &id, open).await;
    ann.say(&id, "m-0", "before").await.ok(201);
    stack.settle().await;

    let mut readers = [reader(stack, 0, &name).await, reader(stack, 1, &name).await, reader(stack, 1, &id).await];
    let sent = ann.say(&id, "m-1", "hello world").await.ok(201);
    for reader in &mut readers {
        let frame = reader.wait_for_type("channel_message").await;
        assert_eq!(
            (&frame["text"], &frame["sender_name"], &frame["seq"]),
            (&json!("hello world"), &json!(ann.username), &sent["seq"])
        );
        assert!(!frame.to_string().contains(&ann.id), "an id of a user: {frame}");
        assert!(frame.get("client_message_id").is_none());
    }
    stack.settle().await;
    ann.delete(&format!("/api/messages/{}", sent["message_id"].as_str().unwrap())).await.ok(204);
    for reader in &mut readers {
        assert_eq!(reader.wait_for_type("channel_message_deleted").await["message_id"], sent["message_id"]);
        // Nothing but reading.
        reader.send(&json!({ "type": "message", "conversation_id": id, "client_message_id": "x", "text": "hi" })).await;
        assert_eq!(reader.wait_for_type("error").await["problem"]["type"], "urn:sealpost:problem:unknown-frame");
        reader.send(&json!({ "type": "ping", "id": 7 })).await;
        assert_eq!(reader.wait_for_type("pong").await["id"], 7);
    }
    set(&ann, &id, json!({ "open_reading": false })).await;
    for mut reader in readers {
        assert_eq!(reader.wait_for_close().await, Some(4403));
    }
    assert_eq!(refused(&name).await, Some(closed));
    let mut silent = {
        set(&ann, &id, json!({ "open_reading": true })).await;
        Connect::to(&stack.url(0)).path(&format!("/ws/public/{name}")).open().await.unwrap()
    };
    silent.send(&json!({ "type": "ping" })).await;
    assert_eq!(silent.wait_for_close().await, Some(4400));
}

/// The shared stacks allow 20.
pub async fn readers_of_one_address_are_bounded(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let (id, name) = channel(&ann).await;
    set(&ann, &id, json!({ "public_name": name, "open_reading": true })).await;
    let connect = Connect::to(&stack.url(0)).path(&format!("/ws/public/{name}"));
    let mut open = Vec::new();
    let refused = loop {
        assert!(open.len() <= 20);
        match connect.clone().open().await {
            Ok(socket) => open.push(socket),
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.status, &refused.body["type"]), (429, &json!("urn:sealpost:problem:too-many-requests")));
    drop(open);
    eventually("a place", async || connect.clone().open().await.ok().map(drop)).await;
    tokio::time::sleep(Duration::ZERO).await;
}
