//! Replies, threads, mentions, drafts.

use sealpost_testing::{Reply, Stack, User, message};
use serde_json::{Value, json};

async fn send(user: &User, conversation: &str, name: &str, text: &str, rest: Value) -> Reply {
    let mut body = json!({ "client_message_id": name, "text": text });
    body.as_object_mut().unwrap().extend(rest.as_object().cloned().unwrap_or_default());
    user.post(&format!("/api/conversations/{conversation}/messages"), body).await
}

fn id_of(sent: &Value) -> String {
    sent["message_id"].as_str().unwrap_or_else(|| panic!("not sent: {sent}")).to_owned()
}

async fn newest(user: &User, conversation: &str) -> Value {
    user.get(&format!("/api/conversations/{conversation}/messages?limit=1")).await.ok(200)["messages"][0].clone()
}

pub async fn a_quote_follows_edits_and_deletions(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let mut to_ann = ann.socket().await;
    let sent = ann.say(&dm, "m-1", "what was asked").await.ok(201);
    let id = id_of(&sent);
    send(&bob, &dm, "b-1", "the answer", json!({ "reply_to": id })).await.ok(201);
    let event = to_ann.wait_for("the answer", |frame| frame["client_message_id"] == "b-1").await;
    assert_eq!((&event["reply_to"], event.get("mentions")), (&json!(id), None), "{event}");
    let quote = |text: Value, deleted| json!({ "message_id": id, "seq": sent["seq"], "sender_id": ann.id, "text": text, "deleted": deleted });
    for reader in [&ann, &bob] {
        assert_eq!(newest(reader, &dm).await["reply_to"], quote(json!("what was asked"), false));
    }
    let long = "é".repeat(300);
    ann.request("PUT", &format!("/api/messages/{id}"), json!({ "text": long })).await.ok(200);
    assert_eq!(newest(&bob, &dm).await["reply_to"], quote(json!("é".repeat(200)), false));
    ann.delete(&format!("/api/messages/{id}")).await.ok(204);
    assert_eq!(newest(&bob, &dm).await["reply_to"], quote(json!(null), true));
    // What is not in this conversation cannot be quoted, whoever sees it.
    let other = ann.group(&[&bob]).await;
    send(&bob, &other, "b-2", "elsewhere", json!({ "reply_to": id })).await.is_problem(404, "not-found");
    send(&bob, &dm, "b-3", "to nothing", json!({ "reply_to": uuid::Uuid::now_v7() }))
        .await
        .is_problem(404, "not-found");
    let mut frame = message(&dm, "a-9", "over the socket");
    frame["reply_to"] = event["message_id"].clone();
    to_ann.send(&frame).await;
    let event = to_ann.wait_for("the message", |frame| frame["client_message_id"] == "a-9").await;
    assert_eq!(event["reply_to"], frame["reply_to"], "{event}");
}

pub async fn threads_are_listed_followed_and_read(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob, &eve]).await;
    let (one, other) = (ann.say(&group, "m-1", "one").await.ok(201), ann.say(&group, "m-2", "other").await.ok(201));
    let (one, other) = (id_of(&one), id_of(&other));
    let mut seqs = Vec::new();
    for (name, root) in [("r-1", &one), ("r-2", &other), ("r-3", &one)] {
        let sent = send(&bob, &group, name, name, json!({ "thread_id": root })).await.ok(201);
        seqs.push(sent["seq"].as_u64().unwrap());
    }
    let list =
        async |user: &User| user.get(&format!("/api/conversations/{group}/threads")).await.ok(200)["threads"].clone();
    let state = |replies, last: u64, following, read: u64, unread| json!({ "reply_count": replies, "last_seq": last, "following": following, "read_seq": read, "unread_count": unread });
    let threads = list(&ann).await;
    assert_eq!((&threads[0]["id"], &threads[1]["id"]), (&json!(one), &json!(other)), "{threads}");
    assert_eq!(threads[0]["thread"], state(2, seqs[2], true, 0, 2));
    assert_eq!(list(&bob).await[0]["thread"], state(2, seqs[2], true, 0, 0));
    assert_eq!(list(&eve).await[0]["thread"], state(2, seqs[2], false, 0, 2));
    let page = eve.get(&format!("/api/messages/{one}/thread?limit=1")).await.ok(200);
    assert_eq!(
        (&page["root"]["text"], &page["replies"][0]["text"], &page["has_more"]),
        (&json!("one"), &json!("r-1"), &json!(true))
    );
    assert_eq!(page["replies"][0]["thread_id"], json!(one), "{page}");
    let mut followers = [ann.id.clone(), bob.id.clone()];
    followers.sort();
    assert_eq!(page["followers"], json!(followers));

    let put = async |user: &User, body: Value| user.request("PUT", &format!("/api/messages/{one}/thread"), body).await;
    let followed = put(&eve, json!({ "following": true, "read_seq": seqs[0] })).await.ok(200);
    assert_eq!(followed, state(2, seqs[2], true, seqs[0], 1));
    assert_eq!(put(&eve, json!({ "read_seq": 1 })).await.ok(200)["read_seq"], seqs[0], "it only rises");
    put(&eve, json!({ "read_seq": seqs[2] + 1 })).await.is_problem(422, "seq-out-of-range");
    put(&bob, json!({ "following": false })).await.ok(200);
    let last = send(&bob, &group, "r-4", "r-4", json!({ "thread_id": one })).await.ok(201);
    assert_eq!(list(&bob).await[0]["thread"]["following"], false, "replying does not undo it");
    bob.delete(&format!("/api/messages/{}", id_of(&last))).await.ok(204);
    assert_eq!(list(&eve).await[0]["thread"], state(2, last["seq"].as_u64().unwrap(), true, seqs[0], 1));
    // Threads have one level, and begin with messages that are here.
    send(&ann, &group, "n-1", "nested", json!({ "thread_id": id_of(&last) })).await.is_problem(422, "invalid");
    send(&ann, &group, "n-2", "nowhere", json!({ "thread_id": uuid::Uuid::now_v7() }))
        .await
        .is_problem(404, "not-found");
    ann.request("PUT", &format!("/api/messages/{}/thread", id_of(&last)), json!({})).await.is_problem(404, "not-found");
}

pub async fn mentions_are_resolved_listed_and_counted(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob]).await;
    let mut to_bob = bob.socket().await;
    let calling = format!("hello @{}, and @{} who is not here", bob.username.to_uppercase(), eve.username);
    let sent = ann.say(&group, "m-1", &calling).await.ok(201);
    let event = to_bob.wait_for_type("message").await;
    assert_eq!((&event["mentions"], event.get("mentions_all")), (&json!([bob.id]), None), "{event}");
    ann.say(&group, "m-2", "@all of you").await.ok(201);
    ann.say(&group, "m-3", "nobody").await.ok(201);
    // Not everybody may call all.
    bob.say(&group, "b-1", "@all").await.ok(201);
    assert_eq!(newest(&ann, &group).await.get("mentions_all"), None);
    let listed = async |user: &User| -> Vec<Value> {
        let page = user.get("/api/mentions").await.ok(200);
        page["messages"].as_array().unwrap().iter().map(|message| message["client_message_id"].clone()).collect()
    };
    let count = async |user: &User| {
        user.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"]["mention_count"]
            .as_u64()
            .unwrap()
    };
    assert_eq!((listed(&bob).await, count(&bob).await), (vec![json!("m-2"), json!("m-1")], 2));
    assert_eq!((listed(&ann).await, count(&ann).await), (Vec::new(), 0), "nobody mentions themselves");
    assert!(listed(&eve).await.is_empty());
    let path = format!("/api/messages/{}", id_of(&sent));
    ann.request("PUT", &path, json!({ "text": "nobody after all" })).await.ok(200);
    assert_eq!((listed(&bob).await, count(&bob).await), (vec![json!("m-2")], 1));
    let again = format!("@{} after all", bob.username);
    ann.request("PUT", &path, json!({ "text": again })).await.ok(200);
    assert_eq!(count(&bob).await, 2);
    assert_eq!(bob.get(&path).await.ok(200)["mentions"], json!([bob.id]));
    ann.delete(&path).await.ok(204);
    assert_eq!((listed(&bob).await, count(&bob).await), (vec![json!("m-2")], 1));
    let read = json!({ "seq": sent["seq"].as_u64().unwrap() + 1 });
    bob.request("PUT", &format!("/api/conversations/{group}/read"), read).await.ok(204);
    assert_eq!((listed(&bob).await.len(), count(&bob).await), (1, 0));
    ann.remove(&group, &bob).await.ok(204);
    assert!(listed(&bob).await.is_empty(), "who was removed sees none of it");
}

pub async fn drafts_follow_their_user_and_nobody_else(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let elsewhere = ann.sign_in().await.at(stack, 1);
    let dm = ann.dm(&bob).await;
    let (mut here, mut there, mut to_bob) = (ann.socket().await, elsewhere.socket().await, bob.socket().await);
    let path = format!("/api/conversations/{dm}/draft");
    let kept = ann.request("PUT", &path, json!({ "text": "I meant" })).await.ok(200);
    let frame = there.wait_for_type("draft").await;
    assert_eq!(
        frame,
        json!({ "type": "draft", "conversation_id": dm, "text": "I meant", "updated_at": kept["updated_at"] })
    );
    there.send(&json!({ "type": "draft", "conversation_id": dm, "text": "I meant to say" })).await;
    assert_eq!(here.wait_for_type("draft").await["text"], "I meant to say");
    assert_eq!(ann.get(&path).await.ok(200)["text"], "I meant to say");
    assert_eq!(elsewhere.get("/api/drafts").await.ok(200)["drafts"].as_array().unwrap().len(), 1);
    bob.get(&path).await.is_problem(404, "not-found");
    assert_eq!(bob.get("/api/drafts").await.ok(200)["drafts"], json!([]));
    ann.delete(&path).await.ok(204);
    assert_eq!(there.wait_for_type("draft").await["text"], json!(null));
    ann.get(&path).await.is_problem(404, "not-found");
    ann.request("PUT", &path, json!({ "text": "x".repeat(20_000) })).await.is_problem(422, "text-too-long");
    let eve = User::sign_up(stack, 1, "eve").await;
    eve.request("PUT", &path, json!({ "text": "mine" })).await.is_problem(404, "not-found");
    to_bob.send(&json!({ "type": "ping" })).await;
    let not_told = |frame: &Value| {
        assert_ne!(frame["type"], "draft", "{frame}");
        frame["type"] == "pong"
    };
    to_bob.wait_for("pong", not_told).await;
    // A draft is no event.
    let sent = ann.say(&dm, "m-1", "at last").await.ok(201);
    assert_eq!(sent["seq"], 2, "{sent}");
}
