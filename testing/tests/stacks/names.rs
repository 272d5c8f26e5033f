//! Attack case 26: client message ids, which make sends idempotent, in the hands of those who misuse them.

use sealpost_testing::{Form, Settings, Stack, User, message};
use serde_json::{Value, json};

on_stacks_of_their_own! {
    attack_26_a_name_is_good_for_one_message_of_one_sender
    attack_26_a_replay_after_a_day_gets_the_first_answer
}

async fn send(user: &User, conversation: &str, name: Value, text: &str, retry: bool) -> sealpost_testing::Reply {
    let body = json!({ "client_message_id": name, "text": text, "retry": retry });
    user.post(&format!("/api/conversations/{conversation}/messages"), body).await
}

pub async fn attack_26_a_name_is_good_for_one_message_of_one_sender(form: Form) {
    let stack = Stack::start(form, Settings::default()).await;
    let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 1, "bob").await);
    let (dm, group) = (ann.dm(&bob).await, ann.group(&[&bob]).await);
    // Another user's, and another conversation's, is another one.
    let first = send(&ann, &dm, json!("m-1"), "ann's", false).await.ok(201);
    let of_bob = send(&bob, &dm, json!("m-1"), "bob's", false).await.ok(201);
    let elsewhere = send(&ann, &group, json!("m-1"), "elsewhere", false).await.ok(201);
    assert!(first["message_id"] != of_bob["message_id"] && first["message_id"] != elsewhere["message_id"]);
    assert!([&first, &of_bob, &elsewhere].iter().all(|sent| sent["duplicate"] == false));
    // Nobody reaches another one's answer by their name for it.
    assert_eq!(send(&bob, &dm, json!("m-1"), "bob's", true).await.ok(200)["message_id"], of_bob["message_id"]);
    send(&bob, &dm, json!("m-1"), "ann's", true).await.is_problem(409, "client-message-id-reused");
    // The same name with another body, over both ways and gateways.
    for gateway in [0, 1] {
        for retry in [false, true] {
            let ann = ann.at(&stack, gateway);
            send(&ann, &dm, json!("m-1"), "another", retry).await.is_problem(409, "client-message-id-reused");
            let mut socket = ann.socket().await;
            let mut frame = message(&dm, "m-1", "another");
            frame["retry"] = json!(retry);
            let refused = socket.refused(&frame).await;
            assert_eq!(refused["type"], "urn:sealpost:problem:client-message-id-reused", "{refused}");
        }
    }
    // What is no name, up to a million bytes.
    for bad in [
        json!(""),
        json!(" "),
        json!("m\n1"),
        json!("m\u{0}"),
        json!("é"),
        json!("x".repeat(65)),
        json!(7),
        json!(null),
        json!(["m-1"]),
    ] {
        send(&ann, &dm, bad, "x", false).await.is_problem(422, "invalid");
    }
    send(&ann, &dm, json!("x".repeat(1_000_000)), "x", false).await.is_problem(413, "body-too-large");
    let mut socket = ann.socket().await;
    let long = message(&dm, &"x".repeat(60_000), "x");
    assert_eq!(socket.refused(&long).await["type"], "urn:sealpost:problem:malformed");
    let huge = message(&dm, &"x".repeat(1_000_000), "x");
    let _ = socket.try_send(&huge).await;
    let code = socket.wait_for_close().await;
    assert!(matches!(code, None | Some(4400)), "{code:?}");
    assert_eq!(ann.history(&dm).await.len(), 2);
    stack.settle().await;
}

/// The lanes forget names at once here, so that only the store knows them; and what is there was said a day ago.
pub async fn attack_26_a_replay_after_a_day_gets_the_first_answer(form: Form) {
    const DAY_MS: i64 = 25 * 3_600_000;
    let settings = Settings::default()
        .set("SEALPOST__LANE__KNOWN_FOR_MS", 1)
        .set("SEALPOST__LANE__MAX_KNOWN", 1)
        .set("SEALPOST__LANE__MAX_RECORD_EVENTS", 1);
    let stack = Stack::start(form, settings).await;
    let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let first = send(&ann, &dm, json!("m-1"), "a day ago", false).await.ok(201);
    for number in 0..5 {
        send(&bob, &dm, json!(format!("b-{number}")), "meanwhile", false).await.ok(201);
    }
    stack.settle().await;
    stack.execute(&format!("UPDATE events SET created_at = created_at - {DAY_MS}")).await.unwrap();
    let is_first = |again: &Value| {
        assert_eq!((&again["message_id"], &again["seq"]), (&first["message_id"], &first["seq"]), "{again}");
        assert_eq!((&again["duplicate"], &again["stored"]), (&json!(true), &json!(true)), "{again}");
    };
    for gateway in [0, 1] {
        let ann = ann.at(&stack, gateway);
        for retry in [true, false] {
            is_first(&send(&ann, &dm, json!("m-1"), "a day ago", retry).await.ok(200));
            send(&ann, &dm, json!("m-1"), "something else", retry).await.is_problem(409, "client-message-id-reused");
            // Each on a connection of its own: a repeat that does not say that it is one is seen by those who are there, before the store
            // finds out.
            let mut frame = message(&dm, "m-1", "a day ago");
            frame["retry"] = json!(retry);
            stack.settle().await;
            let mut socket = ann.socket().await;
            socket.send(&frame).await;
            is_first(&socket.wait_for_type("message_ack").await);
            frame["text"] = json!("something else");
            stack.settle().await;
            let mut socket = ann.socket().await;
            let refused = socket.refused(&frame).await;
            assert_eq!(refused["type"], "urn:sealpost:problem:client-message-id-reused", "{refused}");
        }
    }
    // Deleted since: the name still means that message, which is not there twice.
    ann.delete(&format!("/api/messages/{}", first["message_id"].as_str().unwrap())).await.ok(204);
    is_first(&send(&ann, &dm, json!("m-1"), "a day ago", true).await.ok(200));
    is_first(&send(&ann, &dm, json!("m-1"), "a day ago", false).await.ok(200));
    let history = bob.history(&dm).await;
    assert_eq!(history.iter().filter(|message| message.client_message_id == "m-1").count(), 1);
    stack.settle().await;
}
