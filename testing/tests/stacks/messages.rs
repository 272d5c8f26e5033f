//! Sending, reading and deleting.

use futures_util::future::join_all;
use sealpost_testing::{Stack, User, message};
use serde_json::json;

pub async fn an_accepted_message_is_in_the_history_at_once(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let path = format!("/api/conversations/{dm}/messages");
    for number in 0..20 {
        let body =
            json!({ "client_message_id": format!("m-{number}"), "text": format!("{number}"), "ack": "accepted" });
        let ack = ann.post(&path, body).await.ok(201);
        // Also at the other gateway.
        let reader = if number % 2 == 0 { &ann } else { &bob };
        let newest = &reader.get(&format!("{path}?limit=1")).await.ok(200)["messages"][0];
        assert_eq!((&newest["id"], &newest["seq"]), (&ack["message_id"], &ack["seq"]), "{newest}");
        let id = ack["message_id"].as_str().unwrap();
        assert_eq!(reader.get(&format!("{path}/{id}")).await.ok(200)["text"], format!("{number}"));
    }
}

pub async fn fifty_sends_of_one_message_are_one_message(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let mut to_bob = bob.socket().await;
    let elsewhere = ann.at(stack, 1);
    let sends = (0..50).map(|number| {
        let from = if number % 2 == 0 { &ann } else { &elsewhere };
        from.say(&dm, "m-1", "only once")
    });
    let replies = join_all(sends).await;
    let mut answers = Vec::new();
    for reply in replies {
        assert!([200, 201].contains(&reply.status), "{reply}");
        assert_eq!(reply.body["duplicate"], reply.status == 200, "{reply}");
        answers.push((reply.body["message_id"].clone(), reply.body["seq"].clone(), reply.status));
    }
    assert_eq!(answers.iter().filter(|answer| answer.2 == 201).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| (&answer.0, &answer.1) == (&answers[0].0, &answers[0].1)), "{answers:?}");
    let after = ann.say(&dm, "m-2", "after").await.ok(201);
    to_bob.wait_for_seq(&dm, after["seq"].as_u64().unwrap()).await;
    assert_eq!(to_bob.view.texts(&dm), ["only once", "after"]);
    assert_eq!(ann.history(&dm).await.len(), 2);
}

pub async fn a_used_client_message_id_is_not_taken_for_another_text(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let first = ann.say(&dm, "m-1", "one text").await.ok(201);
    for user in [ann.clone(), ann.at(stack, 1)] {
        user.say(&dm, "m-1", "another text").await.is_problem(409, "client-message-id-reused");
        let mut socket = user.socket().await;
        socket.send(&message(&dm, "m-1", "another text")).await;
        let error = socket.wait_for_type("error").await;
        assert_eq!(error["problem"]["type"], "urn:sealpost:problem:client-message-id-reused", "{error}");
        assert_eq!(error["client_message_id"], "m-1");
        // The same text is a repeat, and gets the first answer.
        let again = socket.say(&dm, "m-1", "one text").await;
        assert_eq!((&again["seq"], &again["duplicate"]), (&first["seq"], &json!(true)), "{again}");
    }
    // It is unique per sender, so the other one may use it; and per conversation.
    bob.say(&dm, "m-1", "bob's own").await.ok(201);
    let group = ann.group(&[&bob]).await;
    ann.say(&group, "m-1", "in another conversation").await.ok(201);
    assert_eq!(ann.history(&dm).await.len(), 2);
}

pub async fn a_deleted_message_shows_no_text(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let mut to_bob = bob.socket().await;
    let sent = ann.say(&dm, "m-1", "a mistake").await.ok(201);
    let path = format!("/api/messages/{}", sent["message_id"].as_str().unwrap());
    bob.delete(&path).await.is_problem(403, "forbidden");
    ann.delete(&path).await.ok(204);
    ann.at(stack, 1).delete(&path).await.ok(204);
    let event = to_bob.wait_for_type("message_deleted").await;
    assert_eq!((&event["message_id"], &event["message_seq"]), (&sent["message_id"], &sent["seq"]));
    stack.settle().await;
    let shown = bob.get(&path).await.ok(200);
    assert_eq!((&shown["text"], &shown["deleted"]), (&json!(null), &json!(true)), "{shown}");
    assert_eq!(bob.history(&dm).await[0].text, None);
    // One event, though it was asked for twice.
    let last = ann.say(&dm, "m-2", "after").await.ok(201);
    assert_eq!(last["seq"], sent["seq"].as_u64().unwrap() + 2);
}

pub async fn pages_of_history_join_without_a_hole(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    for number in 0..23 {
        ann.say(&dm, &format!("m-{number}"), &format!("{number}")).await.ok(201);
    }
    let forward = ann.history(&dm).await;
    assert_eq!(forward.len(), 23);
    let (mut backward, mut before) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/conversations/{dm}/messages?limit=5{before}");
        let page = bob.get(&path).await.ok(200);
        let seqs = page["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_u64().unwrap());
        backward.extend(seqs);
        before = format!("&before={}", backward.last().unwrap());
        if page["has_more"] == false {
            break;
        }
    }
    backward.reverse();
    assert_eq!(backward, forward.iter().map(|message| message.seq).collect::<Vec<_>>());
}

pub async fn read_marks_only_rise(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    for number in 0..4 {
        ann.say(&dm, &format!("m-{number}"), "unread").await.ok(201);
    }
    let state = async || {
        let shown = bob.get(&format!("/api/conversations/{dm}")).await.ok(200)["conversation"].clone();
        (shown["read_seq"].as_u64().unwrap(), shown["unread_count"].as_u64().unwrap())
    };
    assert_eq!(state().await, (0, 4));
    let read =
        async |seq: u64| bob.request("PUT", &format!("/api/conversations/{dm}/read"), json!({ "seq": seq })).await;
    read(3).await.ok(204);
    assert_eq!(state().await, (3, 2));
    read(2).await.ok(204);
    assert_eq!(state().await, (3, 2));
    read(5).await.ok(204);
    assert_eq!(state().await, (5, 0));
}
