//! Messages that disappear, and their keys.

use std::time::Duration;

use sealpost_schema::{Clock, Timestamp};
use sealpost_testing::{Reply, Stack, User, eventually, unique};
use serde_json::{Value, json};

async fn set(user: &User, conversation: &str, seconds: impl Into<Value>) -> Reply {
    let body = json!({ "disappear_after_seconds": seconds.into() });
    user.request("PATCH", &format!("/api/conversations/{conversation}"), body).await
}

async fn send(user: &User, conversation: &str, body: Value) -> Value {
    user.post(&format!("/api/conversations/{conversation}/messages"), body).await.ok(201)
}

fn id_of(sent: &Value) -> String {
    sent["message_id"].as_str().unwrap_or_else(|| panic!("not sent: {sent}")).to_owned()
}

fn moment(value: &Value) -> Timestamp {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value} is no moment: {error}"))
}

/// All that was made of a message, and every way to read it: over REST, in quotes, by resuming, in the store, and with an envelope that was
/// kept from before.
pub async fn what_has_disappeared_is_gone_everywhere(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    bob.say(&dm, "m-0", "this stays").await.ok(201);
    let mut to_bob = bob.socket().await;
    let settings = set(&ann, &dm, 5).await.ok(200)["settings"]["lifetimes"].clone();
    assert_eq!(settings, json!({ "disappear_after_seconds": 5, "retention_days": null }));
    assert_eq!(to_bob.wait_for_type("settings_changed").await["lifetimes"], settings);
    let text = format!("a secret for @{}", ann.username);
    let sent = send(&bob, &dm, json!({ "client_message_id": "m-1", "text": text })).await;
    let (id, path) = (id_of(&sent), format!("/api/messages/{}", id_of(&sent)));
    let event = to_bob.wait_for("the message", |frame| frame["client_message_id"] == "m-1").await;
    let expires_at = moment(&event["expires_at"]);
    assert_eq!(expires_at, moment(&event["created_at"]).plus(Duration::from_secs(5)), "{event}");
    let edited = format!("{text}, and for nobody else");
    bob.request("PUT", &path, json!({ "text": edited })).await.ok(200);
    ann.post(&format!("{path}/reactions"), json!({ "emoji": "🤫" })).await.ok(201);
    ann.request("PUT", &format!("{path}/pin"), Value::Null).await.ok(200);
    send(&ann, &dm, json!({ "client_message_id": "a-1", "text": "what?", "reply_to": id })).await;
    set(&ann, &dm, Value::Null).await.ok(200);
    let answer = send(&ann, &dm, json!({ "client_message_id": "a-2", "text": "an answer", "reply_to": id })).await;
    let shown = ann.get(&path).await.ok(200);
    assert_eq!((&shown["text"], moment(&shown["expires_at"])), (&json!(edited), expires_at), "{shown}");
    assert_eq!(ann.get("/api/mentions").await.ok(200)["messages"][0]["id"], json!(id));

    // Somebody keeps what the store has of it.
    stack.settle().await;
    let (kept, row) = (unique("kept_"), stack.id(&id));
    stack.execute(&format!("CREATE TABLE {kept} AS SELECT id, sealed FROM events WHERE id = {row}")).await.unwrap();

    let gone = eventually("it to disappear", async || {
        let shown = bob.get(&path).await.ok(200);
        (shown["deleted"] == true).then_some(shown)
    })
    .await;
    assert!(Clock::default().now() >= expires_at, "not before its time");
    assert_eq!((&gone["text"], gone.get("unreadable")), (&json!(null), None), "{gone}");
    for user in [&ann, &bob] {
        let shown = user.get(&path).await.ok(200);
        assert_eq!((&shown["text"], &shown["deleted"], shown.get("reactions")), (&json!(null), &json!(true), None));
        let texts: Vec<_> = user.history(&dm).await.into_iter().filter_map(|message| message.text).collect();
        assert!(!texts.iter().any(|text| text.contains("secret")), "{texts:?}");
        let quote = user.get(&format!("/api/messages/{}", id_of(&answer))).await.ok(200)["reply_to"].clone();
        assert_eq!((&quote["text"], &quote["deleted"]), (&json!(null), &json!(true)), "{quote}");
        assert_eq!(user.get(&format!("{path}/reactions")).await.ok(200)["reactions"], json!([]));
        assert_eq!(user.get(&format!("/api/conversations/{dm}/pins")).await.ok(200)["messages"], json!([]));
        user.get(&format!("{path}/edits")).await.is_problem(409, "message-deleted");
        // Who comes back without having seen anything gets the numbers and no content.
        let mut again = user.connect().resume().await.unwrap();
        again.ping().await;
        let events = again.view.events(&dm);
        let about: Vec<_> = events.iter().filter(|event| event["message_id"] == json!(id)).collect();
        assert!(about.len() >= 4, "{events:?}");
        for event in about {
            assert!(event.get("unreadable").is_none(), "{event}");
            assert!(["text", "emoji"].iter().all(|name| event.get(name).is_none_or(Value::is_null)), "{event}");
        }
    }
    ann.post(&format!("{path}/reactions"), json!({ "emoji": "🤫" })).await.is_problem(409, "message-deleted");
    bob.request("PUT", &path, json!({ "text": "again" })).await.is_problem(409, "message-deleted");
    assert_eq!(ann.get("/api/mentions").await.ok(200)["messages"], json!([]));
    // A repeat changes nothing and is no error.
    let repeat = json!({ "client_message_id": "m-1", "text": text, "retry": true });
    let repeated = bob.post(&format!("/api/conversations/{dm}/messages"), repeat).await.ok(200);
    assert_eq!(repeated["message_id"], json!(id));

    // The store has none of it any more; nor has it the keys, a little later.
    let conversation = stack.id(&dm);
    let left = format!("SELECT count(*) FROM events WHERE conversation_id = {conversation} AND sealed IS NOT NULL");
    eventually("the content to be destroyed", async || (stack.count(&left).await == 2).then_some(())).await;
    let keys = format!("SELECT count(*) FROM conversation_keys WHERE conversation_id = {conversation}");
    eventually("the keys to be destroyed", async || (stack.count(&keys).await == 1).then_some(())).await;

    // With master key, gateways that had opened it before, and the envelope in its old place: nobody can.
    let back = format!(
        "UPDATE events SET sealed = (SELECT sealed FROM {kept}), edited_seq = NULL, expires_at = NULL WHERE id = {row}"
    );
    assert_eq!(stack.execute(&back).await, Ok(1));
    for gateway in 0..2 {
        let shown = ann.at(stack, gateway).get(&path).await.ok(200);
        assert_eq!((&shown["text"], &shown["unreadable"]), (&json!(null), &json!(true)), "{shown}");
    }
    stack.execute(&format!("UPDATE events SET sealed = NULL WHERE id = {row}")).await.unwrap();
    stack.execute(&format!("DROP TABLE {kept}")).await.unwrap();
    let texts: Vec<_> = bob.history(&dm).await.into_iter().filter_map(|message| message.text).collect();
    assert_eq!(texts, ["this stays", "an answer"]);
}

/// Set at one gateway, sent through the other: what has a later number than the change is as the change says.
pub async fn a_change_counts_for_what_is_sent_after_it(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let group = ann.group(&[]).await;
    let elsewhere = ann.at(stack, 1);
    for round in 0..6 {
        let (here, there) = if round % 2 == 0 { (&ann, &elsewhere) } else { (&elsewhere, &ann) };
        let seconds = (round % 3 != 2).then_some(3600 + round);
        set(here, &group, json!(seconds)).await.ok(200);
        let sends = (0..5).map(|number| {
            let user = if number % 2 == 0 { there } else { here };
            send(user, &group, json!({ "client_message_id": format!("m-{round}-{number}"), "text": "hello" }))
        });
        for sent in futures_util::future::join_all(sends).await {
            let shown = there.get(&format!("/api/conversations/{group}/messages/{}", id_of(&sent))).await.ok(200);
            let expected = seconds
                .map(|seconds| moment(&shown["created_at"]).plus(Duration::from_secs(seconds.try_into().unwrap())));
            assert_eq!(shown.get("expires_at").map(moment), expected, "{shown}");
            assert_eq!(shown["text"], "hello");
        }
    }
    let shown = ann.get(&format!("/api/conversations/{group}")).await.ok(200);
    assert_eq!(
        shown["conversation"]["settings"]["lifetimes"],
        json!({ "disappear_after_seconds": null, "retention_days": null })
    );
}

pub async fn who_may_say_how_long_messages_stay(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let (eve, dan) = (User::sign_up(stack, 1, "eve").await, User::sign_up(stack, 0, "dan").await);
    let (group, dm) = (ann.group(&[&bob, &dan]).await, ann.dm(&bob).await);
    ann.add(&group, &dan, "admin").await.ok(200);
    set(&bob, &group, 60).await.is_problem(403, "forbidden");
    for id in [&group, &dm] {
        set(&eve, id, 60).await.is_problem(404, "not-found");
        for bad in [json!(4), json!(0), json!(31_622_401), json!(-5), json!("1 day")] {
            set(&ann, id, bad).await.is_problem(422, "invalid");
        }
    }
    set(&dan, &group, 60).await.ok(200);
    // What is shown as head is what is stored.
    stack.settle().await;
    let before = ann.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"]["head_seq"].clone();
    assert_eq!(set(&dan, &group, 60).await.ok(200)["head_seq"], before, "what is so already makes no event");
    set(&ann, &dm, 60).await.ok(200);
    set(&bob, &dm, Value::Null).await.ok(200);
    let path = format!("/api/conversations/{dm}");
    for body in [json!({}), json!({ "title": "x" }), json!({ "title": "x", "disappear_after_seconds": 60 })] {
        ann.request("PATCH", &path, body).await.is_problem(422, "invalid");
    }
}

pub async fn a_scheduled_message_disappears_with_its_key(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let group = ann.group(&[]).await;
    let at = Clock::skewed(700).now();
    let schedule = json!({ "client_message_id": "m-1", "text": "for a moment", "send_at": at.to_string() });
    // Nobody knew of it when this was written.
    let made = ann.post(&format!("/api/conversations/{group}/scheduled"), schedule.clone()).await.ok(201);
    set(&ann, &group, 5).await.ok(200);
    let mut later = schedule;
    later["client_message_id"] = json!("m-2");
    later["send_at"] = json!(Clock::skewed(3_600_000).now().to_string());
    let cancelled = ann.post(&format!("/api/conversations/{group}/scheduled"), later).await.ok(201);
    ann.delete(&format!("/api/scheduled/{}", cancelled["id"].as_str().unwrap())).await.ok(204);
    let path = format!("/api/messages/{}", made["id"].as_str().unwrap());
    let shown = eventually("it to be sent", async || {
        let reply = ann.get(&path).await;
        (reply.status == 200).then_some(reply.body)
    })
    .await;
    assert_eq!(moment(&shown["expires_at"]), moment(&shown["created_at"]).plus(Duration::from_secs(5)), "{shown}");
    let keys = format!("SELECT count(*) FROM conversation_keys WHERE conversation_id = {}", stack.id(&group));
    eventually("its key to go", async || (stack.count(&keys).await == 1).then_some(())).await;
    let shown = ann.get(&path).await.ok(200);
    assert_eq!((&shown["text"], &shown["deleted"]), (&json!(null), &json!(true)), "{shown}");
}
