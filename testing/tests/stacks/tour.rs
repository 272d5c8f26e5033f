//! What the README shows.

use sealpost_testing::{Stack, User};
use serde_json::json;

pub async fn two_people_talk(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let bob = User::sign_up(stack, 1, "bob").await;
    assert_eq!(ann.get("/api/auth/me").await.ok(200)["username"], ann.username);
    let found = ann.get(&format!("/api/users?query={}", bob.username)).await.ok(200);
    assert_eq!(found["users"][0]["id"], bob.id, "{found}");
    assert_eq!(ann.get(&format!("/api/users/{}", bob.username)).await.ok(200)["id"], bob.id);

    let dm = ann.dm(&bob).await;
    let (mut to_ann, mut to_bob) = (ann.socket().await, bob.socket().await);
    let ack = to_ann.say(&dm, "m-1", "Hello, Bob!").await;
    assert_eq!(
        (&ack["level"], &ack["stored"], &ack["duplicate"]),
        (&json!("stored"), &json!(true), &json!(false)),
        "{ack}"
    );
    let seen = to_bob.wait_for_type("message").await;
    assert_eq!((&seen["text"], &seen["sender_id"]), (&json!("Hello, Bob!"), &json!(ann.id)), "{seen}");
    assert_eq!((&seen["seq"], &seen["message_id"]), (&ack["seq"], &ack["message_id"]));

    to_bob.send(&json!({
        "type": "message", "conversation_id": dm, "client_message_id": "b-1", "text": "Hello, Ann!", "ack": "accepted"
    }))
    .await;
    let ack = to_bob.wait_for_type("message_ack").await;
    assert_eq!(ack["level"], if ack["stored"] == true { "stored" } else { "accepted" }, "{ack}");
    if ack["stored"] == false {
        let stored = to_bob.wait_for_type("stored").await;
        assert_eq!((&stored["seq"], &stored["client_message_id"]), (&ack["seq"], &json!("b-1")));
    }
    to_ann.wait_for("the answer", |frame| frame["text"] == "Hello, Ann!").await;

    let history = ann.history(&dm).await;
    assert_eq!(history, bob.history(&dm).await);
    assert_eq!(history.iter().map(|message| message.seq).collect::<Vec<_>>(), [2, 3]);
    let list = bob.get("/api/conversations").await.ok(200);
    let shown = &list["conversations"][0];
    assert_eq!((&shown["id"], &shown["peer_id"], &shown["unread_count"]), (&json!(dm), &json!(ann.id), &json!(1)));
    to_bob.send(&json!({ "type": "message_read", "conversation_id": dm, "seq": 3 })).await;
    to_bob.ping().await;
    assert_eq!(bob.get("/api/conversations").await.ok(200)["conversations"][0]["unread_count"], 0);
}
