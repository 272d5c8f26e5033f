//! Who may do what. The table of all operations is in [`role_table`](crate::role_table).

use sealpost_testing::{Stack, User, message};
use serde_json::json;

pub async fn attack_1_what_you_may_not_see_is_not_found(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let dm = ann.dm(&bob).await;
    let (mut to_eve, mut to_bob) = (eve.socket().await, bob.socket().await);
    let message_id = ann.say(&dm, "m-1", "not for eve").await.ok(201)["message_id"].as_str().unwrap().to_owned();
    stack.settle().await;
    let conversation = format!("/api/conversations/{dm}");
    let messages = format!("{conversation}/messages");
    let one = format!("{messages}/{message_id}");
    let asked = [
        ("GET", conversation.clone(), json!(null)),
        ("PATCH", conversation.clone(), json!({ "title": "mine" })),
        ("DELETE", conversation.clone(), json!(null)),
        ("GET", messages.clone(), json!(null)),
        ("POST", messages, json!({ "client_message_id": "e-1", "text": "hello" })),
        ("GET", one, json!(null)),
        ("GET", format!("/api/messages/{message_id}"), json!(null)),
        ("DELETE", format!("/api/messages/{message_id}"), json!(null)),
        ("PUT", format!("{conversation}/read"), json!({ "seq": 1 })),
        ("PUT", format!("{conversation}/participants/{}", eve.id), json!({ "role": "owner" })),
        ("DELETE", format!("{conversation}/participants/{}", bob.id), json!(null)),
    ];
    for (method, path, body) in asked {
        let foreign = eve.request(method, &path, body.clone()).await;
        foreign.is_problem(404, "not-found");
        // Word for word the answer to what does not exist.
        let nothing = uuid::Uuid::now_v7().to_string();
        let missing = eve.request(method, &path.replace(&dm, &nothing).replace(&message_id, &nothing), body).await;
        assert_eq!(missing.text, foreign.text, "{missing}");
    }
    for frame in [message(&dm, "e-2", "hello"), json!({ "type": "message_read", "conversation_id": dm, "seq": 1 })] {
        assert_eq!(to_eve.refused(&frame).await["type"], "urn:sealpost:problem:not-found");
    }
    // A cursor shows nothing either.
    let cursor = json!({ "type": "resume", "cursor": { dm.clone(): 0 } });
    let mut resuming = eve.connect().path("/ws?resume=true").open().await.unwrap();
    resuming.ready().await;
    resuming.send(&cursor).await;
    assert_eq!(resuming.wait_for_type("resumed").await["events"], 0);

    let last = ann.say(&dm, "m-2", "nor this").await.ok(201)["seq"].as_u64().unwrap();
    to_bob.wait_for_seq(&dm, last).await;
    for socket in [&mut to_eve, &mut resuming] {
        socket.ping().await;
        assert!(socket.view.events(&dm).is_empty());
    }
    assert_eq!(eve.get("/api/conversations").await.ok(200)["conversations"], json!([]));
    assert_eq!(ann.history(&dm).await.len(), 2, "eve wrote or deleted something");
}

/// What the two other cases of this number do not ask for.
pub async fn attack_1_every_route_and_frame_is_closed_to_strangers(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob, &eve]).await;
    let theirs = ann.say(&group, "m-1", "not for eve").await.ok(201)["message_id"].as_str().unwrap().to_owned();
    ann.post(&format!("/api/conversations/{group}/invites"), json!({})).await.ok(201);
    ann.remove(&group, &eve).await.ok(204);
    stack.settle().await;
    let head = ann.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"]["head_seq"].clone();
    let stranger = User::sign_up(stack, 0, "mallory").await;
    let missing = uuid::Uuid::now_v7().to_string();
    let of_group = |rest: &str| format!("/api/conversations/{group}{rest}");
    let asked = [
        ("GET", of_group("/export"), json!(null)),
        ("GET", of_group("/receipts"), json!(null)),
        ("GET", of_group("/presence"), json!(null)),
        ("GET", of_group("/draft"), json!(null)),
        ("DELETE", of_group("/draft"), json!(null)),
        ("GET", of_group("/invites"), json!(null)),
        ("POST", of_group("/invites"), json!({})),
        ("POST", of_group("/transfer"), json!({ "user_id": bob.id })),
        ("PATCH", of_group("/state"), json!({ "archived": true })),
        ("PATCH", of_group(""), json!({ "disappear_after_seconds": 60 })),
        (
            "POST",
            of_group("/scheduled"),
            json!({ "client_message_id": "e-1", "text": "later", "send_at": sealpost_schema::Clock::skewed(3_600_000).now() }),
        ),
        ("POST", of_group("/messages"), json!({ "client_message_id": "e-1", "text": "hello", "reply_to": theirs })),
        ("POST", of_group("/messages"), json!({ "client_message_id": "e-1", "text": "hello", "thread_id": theirs })),
        ("POST", "/api/webhooks".to_owned(), json!({ "url": "http://127.0.0.1:9/", "conversation_id": group })),
        ("POST", format!("/api/channels/{group}/join"), json!(null)),
        ("GET", format!("/api/messages/{theirs}/receipts"), json!(null)),
        ("GET", format!("/api/messages/{theirs}/thread"), json!(null)),
    ];
    for user in [&eve, &stranger] {
        for (method, path, body) in &asked {
            let foreign = user.request(method, path, body.clone()).await;
            foreign.is_problem(404, "not-found");
            let (path, body) = (path.replace(&group, &missing).replace(&theirs, &missing), body.to_string());
            let body = serde_json::from_str(&body.replace(&group, &missing)).unwrap();
            assert_eq!(user.request(method, &path, body).await.text, foreign.text, "{path}");
        }
        let mut socket = user.socket().await;
        for frame in [
            json!({ "type": "message", "client_message_id": "e-1", "text": "hello" }),
            json!({ "type": "message", "client_message_id": "e-2", "text": "hello", "reply_to": theirs }),
            json!({ "type": "message", "client_message_id": "e-3", "text": "hello", "thread_id": theirs }),
            json!({ "type": "message_read", "seq": 1 }),
            json!({ "type": "message_delivered", "seq": 1 }),
            json!({ "type": "draft", "text": "mine" }),
            json!({ "type": "typing_start" }),
            json!({ "type": "typing_stop" }),
            json!({ "type": "watch" }),
        ] {
            let mut answers = Vec::new();
            for conversation in [&group, &missing] {
                let mut frame = frame.clone();
                if frame["type"] == "watch" {
                    frame["conversation_ids"] = json!([conversation]);
                } else {
                    frame["conversation_id"] = json!(conversation);
                }
                answers.push(socket.refused(&frame).await);
            }
            assert_eq!(answers[0]["type"], "urn:sealpost:problem:not-found", "{frame}: {answers:?}");
            // One of them names the conversation that it was asked about.
            assert_eq!(answers[0].to_string().replace(&group, &missing), answers[1].to_string(), "{frame}");
        }
    }
    stack.settle().await;
    assert_eq!(ann.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"]["head_seq"], head);
}

pub async fn the_last_owner_stays(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    ann.remove(&group, &ann).await.is_problem(409, "last-owner");
    ann.add(&group, &ann, "member").await.is_problem(409, "last-owner");
    ann.add(&group, &bob, "owner").await.ok(200);
    ann.remove(&group, &ann).await.ok(204);
    ann.get(&format!("/api/conversations/{group}")).await.is_problem(404, "not-found");
    bob.remove(&group, &bob).await.is_problem(409, "last-owner");
    let dm = ann.dm(&bob).await;
    ann.remove(&dm, &ann).await.is_problem(422, "invalid");
}

/// Each action that REST offers, taken from everybody and given to readers.
pub async fn rights_are_given_and_taken_for_each_conversation(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 0, "eve").await;
    let group = ann.group(&[]).await;
    ann.add(&group, &bob, "reader").await.ok(200);
    let path = format!("/api/conversations/{group}");
    let mut to_bob = bob.socket().await;
    let shown = bob.get(&path).await.ok(200)["conversation"]["settings"]["rights"].clone();
    assert_eq!(
        (&shown["post"], &shown["change_settings"], &shown["edit_others"]),
        (&json!("member"), &json!("admin"), &json!("nobody"))
    );

    let set = async |least: &str| {
        let rights = json!({ "post": least, "add": least, "delete_others": least, "remove": least });
        ann.request("PATCH", &path, json!({ "rights": rights })).await.ok(200)
    };
    let theirs = ann.say(&group, "m-1", "ann's").await.ok(201)["message_id"].as_str().unwrap().to_owned();
    stack.settle().await;
    assert_eq!(set("reader").await["settings"]["rights"]["post"], "reader");
    let event = to_bob.wait_for_type("settings_changed").await;
    assert_eq!(
        event["rights"],
        json!({ "post": "reader", "add": "reader", "delete_others": "reader", "remove": "reader" })
    );
    bob.say(&group, "b-1", "bob's").await.ok(201);
    bob.add(&group, &eve, "member").await.is_problem(403, "forbidden");
    bob.add(&group, &eve, "reader").await.ok(200);
    bob.remove(&group, &eve).await.is_problem(403, "forbidden");
    bob.delete(&format!("/api/messages/{theirs}")).await.ok(204);

    set("nobody").await;
    let theirs = bob.say(&group, "b-2", "still?").await;
    theirs.is_problem(403, "forbidden");
    let refused = to_bob.refused(&message(&group, "b-3", "still?")).await;
    assert_eq!(refused["type"], "urn:sealpost:problem:forbidden", "{refused}");
    ann.say(&group, "m-2", "not even I").await.is_problem(403, "forbidden");
    ann.remove(&group, &bob).await.is_problem(403, "forbidden");
    // The same once more changes nothing, and is no event.
    stack.settle().await;
    let head = ann.get(&path).await.ok(200)["conversation"]["head_seq"].clone();
    set("nobody").await;
    stack.settle().await;
    assert_eq!(ann.get(&path).await.ok(200)["conversation"]["head_seq"], head);
    set("member").await;
    ann.say(&group, "m-3", "again").await.ok(201);
}

/// A right above one's own role is out of reach, in both directions.
pub async fn nobody_gives_themselves_a_right(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let path = format!("/api/conversations/{group}");
    let set = async |who: &User, action: &str, least: &str| {
        who.request("PATCH", &path, json!({ "rights": { action: least } })).await
    };
    set(&bob, "post", "reader").await.is_problem(403, "forbidden");
    ann.add(&group, &bob, "admin").await.ok(200);
    set(&bob, "edit_others", "admin").await.is_problem(403, "forbidden");
    set(&bob, "post", "owner").await.is_problem(403, "forbidden");
    set(&bob, "post", "admin").await.ok(200);
    set(&ann, "change_settings", "nobody").await.is_problem(422, "invalid");
    set(&ann, "change_settings", "owner").await.ok(200);
    set(&bob, "post", "member").await.is_problem(403, "forbidden");
    set(&ann, "fly", "member").await.is_problem(422, "invalid");
    // Whatever is set, the title stays unless it is named.
    let shown = ann.get(&path).await.ok(200)["conversation"].clone();
    assert_eq!(shown["title"], "A group");
    let dm = ann.dm(&bob).await;
    ann.request("PATCH", &format!("/api/conversations/{dm}"), json!({ "rights": { "post": "owner" } }))
        .await
        .is_problem(422, "invalid");
}
