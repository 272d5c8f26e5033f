//! What admins tell everybody. On stacks of their own, since everybody hears of it.

use sealpost_testing::{Connect, Form, Settings, Stack, User, unique};
use serde_json::{Value, json};

async fn everybody_hears_of_it_and_who_was_away_later(form: Form) {
    let stack = Stack::start(form, Settings::default()).await;
    let ann = User::sign_up(&stack, 0, "ann").await.promoted(&stack);
    let (bob, eve) = (User::sign_up(&stack, 1, "bob").await, User::sign_up(&stack, 0, "eve").await);
    let (mut to_ann, mut to_bob) = (ann.socket().await, bob.socket().await);
    let body = json!({ "kind": "channel", "title": "Open" });
    let channel = ann.post("/api/conversations", body).await.ok(201)["id"].as_str().unwrap().to_owned();
    let open = json!({ "public_name": unique("ch-"), "open_reading": true });
    ann.request("PATCH", &format!("/api/conversations/{channel}"), open).await.ok(200);
    let mut reader = Connect::to(&stack.url(1)).path(&format!("/ws/public/{channel}")).open().await.unwrap();
    reader.send(&json!({ "type": "subscribe" })).await;
    reader.wait_for_type("subscribed").await;

    let path = "/api/admin/announcements";
    bob.post(path, json!({ "text": "I am in charge" })).await.is_problem(403, "forbidden");
    ann.post(path, json!({ "text": " " })).await.is_problem(422, "invalid");
    ann.post(path, json!({ "text": "x", "hours": 0 })).await.is_problem(422, "invalid");
    let told = ann.post(path, json!({ "text": "Maintenance at ten" })).await.ok(201);
    for socket in [&mut to_ann, &mut to_bob, &mut reader] {
        let frame = socket.wait_for_type("announcement").await;
        assert_eq!((&frame["text"], &frame["announcement_id"]), (&json!("Maintenance at ten"), &told["id"]));
    }
    // Eve was away.
    let mut to_eve = eve.socket().await;
    assert_eq!(to_eve.wait_for_type("announcement").await["announcement_id"], told["id"]);
    assert_eq!(eve.get("/api/announcements").await.ok(200)["announcements"][0]["seen"], false);
    let seen = json!({ "announcement_id": told["id"] });
    eve.request("PUT", "/api/announcements/seen", seen.clone()).await.ok(204);
    eve.request("PUT", "/api/announcements/seen", seen).await.ok(204);
    let unknown = json!({ "announcement_id": uuid::Uuid::max() });
    eve.request("PUT", "/api/announcements/seen", unknown).await.is_problem(404, "not-found");
    assert_eq!(eve.get("/api/announcements").await.ok(200)["announcements"][0]["seen"], true);
    let silent = async |user: &User| {
        let mut socket = user.socket().await;
        socket.send(&json!({ "type": "ping", "id": 1 })).await;
        socket
            .wait_for("a pong", |frame| {
                assert_ne!(frame["type"], "announcement", "{frame}");
                frame["type"] == "pong"
            })
            .await;
    };
    silent(&eve).await;
    // The next one comes all the same; what is withdrawn does not.
    let next = ann.post(path, json!({ "text": "It is over" })).await.ok(201);
    assert_eq!(to_eve.wait_for_type("announcement").await["announcement_id"], next["id"]);
    for id in [&told["id"], &next["id"]] {
        ann.delete(&format!("{path}/{}", id.as_str().unwrap())).await.ok(204);
    }
    ann.delete(&format!("{path}/{}", next["id"].as_str().unwrap())).await.is_problem(404, "not-found");
    sealpost_testing::eventually("nothing to be announced", async || {
        (bob.get("/api/announcements").await.ok(200)["announcements"] == json!([])).then_some(())
    })
    .await;
    silent(&bob).await;
    let log = ann.get("/api/admin/audit?action=announced").await.ok(200);
    assert!(!log.to_string().contains("Maintenance"), "{log}");
    let _: Value = log;
    stack.settle().await;
}

#[tokio::test]
async fn everybody_hears_of_it_and_who_was_away_later_embedded() {
    everybody_hears_of_it_and_who_was_away_later(Form::Embedded).await;
}

#[tokio::test]
async fn everybody_hears_of_it_and_who_was_away_later_cluster() {
    everybody_hears_of_it_and_who_was_away_later(Form::Cluster).await;
}
