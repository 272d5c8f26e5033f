//! What users keep for themselves: muting, archiving, hiding, blocking.

use sealpost_testing::{Stack, User};
use serde_json::{Value, json};

async fn listed(user: &User) -> Vec<String> {
    let list = user.get("/api/conversations").await.ok(200)["conversations"].clone();
    list.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

pub async fn muting_and_archiving_are_shared_by_ones_own_devices(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let path = format!("/api/conversations/{dm}/state");
    let mut other_device = ann.sign_in().await.at(stack, 1).socket().await;
    let mut to_bob = bob.socket().await;
    let set = async |body: Value| ann.request("PATCH", &path, body).await;
    let state = json!({ "muted_until": "2031-01-01T00:00:00.000Z", "archived": true, "hidden": false });
    assert_eq!(set(json!({ "muted_until": "2031-01-01T00:00:00Z", "archived": true })).await.ok(200), state);
    let heard = other_device.wait_for_type("conversation_state").await;
    assert_eq!((&heard["conversation_id"], &heard["state"]), (&json!(dm), &state));
    assert_eq!(ann.get("/api/conversations").await.ok(200)["conversations"][0]["state"], state);
    let state = json!({ "muted_until": null, "archived": true, "hidden": false });
    assert_eq!(set(json!({ "muted_until": null })).await.ok(200), state);
    assert_eq!(set(json!({})).await.ok(200), state);
    set(json!({ "muted_until": "tomorrow" })).await.is_problem(422, "invalid");
    // Nothing of it is bob's.
    assert_eq!(bob.get("/api/conversations").await.ok(200)["conversations"][0]["state"]["archived"], false);
    to_bob.send(&json!({ "type": "ping", "id": 1 })).await;
    assert!(
        to_bob
            .wait_for("a pong", |frame| {
                assert_ne!(frame["type"], "conversation_state", "{frame}");
                frame["type"] == "pong"
            })
            .await
            .is_object()
    );
    let eve = User::sign_up(stack, 0, "eve").await;
    for body in [json!({ "archived": true }), json!({ "hidden": true })] {
        eve.request("PATCH", &path, body).await.is_problem(404, "not-found");
    }
}

pub async fn a_hidden_conversation_comes_back_with_the_next_message(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    bob.say(&dm, "m-1", "hello").await.ok(201);
    let path = format!("/api/conversations/{dm}/state");
    assert_eq!(ann.request("PATCH", &path, json!({ "hidden": true })).await.ok(200)["hidden"], true);
    assert_eq!(listed(&ann).await, Vec::<String>::new());
    let all = ann.get("/api/conversations?hidden=true").await.ok(200)["conversations"].clone();
    assert_eq!((&all[0]["id"], &all[0]["state"]["hidden"]), (&json!(dm), &json!(true)));
    assert_eq!(listed(&bob).await, [&*dm]);
    bob.say(&dm, "m-2", "still there?").await.ok(201);
    assert_eq!(listed(&ann).await, [&*dm]);
    assert_eq!(ann.request("PATCH", &path, json!({ "hidden": true })).await.ok(200)["hidden"], true);
    assert_eq!(ann.request("PATCH", &path, json!({ "hidden": false })).await.ok(200)["hidden"], false);
    assert_eq!(listed(&ann).await, [&*dm]);
}

/// Ann blocks eve: for ann the dm is not there, and eve cannot tell.
pub async fn who_is_blocked_learns_nothing(stack: &Stack) {
    let (ann, eve) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "eve").await);
    let dm = eve.dm(&ann).await;
    eve.say(&dm, "m-1", "hello").await.ok(201);
    let mut to_ann = ann.sign_in().await.at(stack, 1).socket().await;
    let block = format!("/api/blocks/{}", eve.id);
    let before = (
        eve.get(&format!("/api/conversations/{dm}")).await.ok(200),
        eve.get(&format!("/api/users/{}", ann.username)).await.text,
    );
    ann.request("PUT", &block, Value::Null).await.ok(204);
    ann.request("PUT", &block, Value::Null).await.ok(204);
    assert_eq!(to_ann.wait_for_type("user_blocked").await["user_id"], eve.id);
    assert_eq!(ann.get("/api/blocks").await.ok(200)["blocks"][0]["user_id"], eve.id);

    // For eve all is as before.
    stack.settle().await;
    let after = (
        eve.get(&format!("/api/conversations/{dm}")).await.ok(200),
        eve.get(&format!("/api/users/{}", ann.username)).await.text,
    );
    assert_eq!(after, before);
    eve.say(&dm, "m-2", "are you there?").await.ok(201);
    assert_eq!(eve.dm(&ann).await, dm);
    assert_eq!(eve.get("/api/blocks").await.ok(200)["blocks"], json!([]));
    let group = eve.group(&[&ann]).await;
    let other = eve.group(&[]).await;
    eve.add(&other, &ann, "member").await.ok(200);
    eve.say(&group, "m-3", "look at this").await.ok(201);
    let shown = eve.get(&format!("/api/conversations/{other}")).await.ok(200);
    assert!(shown["participants"].to_string().contains(&ann.id), "{shown}");

    // For ann nothing of it is there.
    stack.settle().await;
    assert_eq!(listed(&ann).await, Vec::<String>::new());
    for id in [&dm, &group, &other] {
        ann.get(&format!("/api/conversations/{id}")).await.is_problem(404, "not-found");
        ann.get(&format!("/api/conversations/{id}/messages")).await.is_problem(404, "not-found");
    }
    ann.post("/api/conversations", json!({ "kind": "dm", "participants": [eve.id] }))
        .await
        .is_problem(403, "forbidden");
    to_ann.ping().await;
    assert_eq!(to_ann.view.texts(&dm), Vec::<String>::new());
    assert!(to_ann.view.events(&group).is_empty() && to_ann.view.events(&other).is_empty());
    let mut again = ann.connect().resume().await.unwrap();
    again.ping().await;
    assert!([&dm, &group, &other].iter().all(|id| again.view.events(id).is_empty()));

    // Somebody else may add her.
    let bob = User::sign_up(stack, 0, "bob").await;
    eve.add(&other, &bob, "admin").await.ok(200);
    bob.add(&other, &ann, "member").await.ok(200);
    assert_eq!(listed(&ann).await, [&*other]);

    // With the end of the block all is there.
    ann.delete(&block).await.ok(204);
    assert_eq!(to_ann.wait_for("the end", |frame| frame["blocked"] == false).await["user_id"], eve.id);
    let texts: Vec<_> = ann.history(&dm).await.into_iter().filter_map(|message| message.text).collect();
    assert_eq!(texts, ["hello", "are you there?"]);
    assert_eq!(listed(&ann).await.len(), 3);
    let mut anew = ann.socket().await;
    let seq = eve.say(&dm, "m-4", "at last").await.ok(201)["seq"].as_u64().unwrap();
    anew.wait_for_seq(&dm, seq).await;
    for (who, status, name) in [(&ann, 422, "invalid"), (&bob, 204, "")] {
        let reply = ann.request("PUT", &format!("/api/blocks/{}", who.id), Value::Null).await;
        if status == 204 {
            reply.ok(204);
        } else {
            reply.is_problem(status, name);
        }
    }
    ann.request("PUT", &format!("/api/blocks/{}", uuid::Uuid::now_v7()), Value::Null)
        .await
        .is_problem(404, "unknown-recipient");
}
