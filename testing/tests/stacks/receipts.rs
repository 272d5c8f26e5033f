//! How far everybody has got.

use sealpost_testing::{Socket, Stack, User};
use serde_json::{Value, json};

async fn delivered(socket: &mut Socket, conversation: &str, seq: u64) {
    socket.send(&json!({ "type": "message_delivered", "conversation_id": conversation, "seq": seq })).await;
}

async fn read(socket: &mut Socket, conversation: &str, seq: u64) {
    socket.send(&json!({ "type": "message_read", "conversation_id": conversation, "seq": seq })).await;
}

/// Reads up to the receipt that says so of this user.
async fn receipt(socket: &mut Socket, of: &User, delivered: u64, read: Option<u64>) -> Value {
    socket
        .wait_for("a receipt", |frame| {
            frame["type"] == "receipt"
                && frame["user_id"] == of.id
                && frame["delivered_seq"] == delivered
                && frame["read_seq"].as_u64() == read
        })
        .await
}

pub async fn everybody_sees_how_far_the_others_have_got(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let (mut to_ann, mut to_bob) = (ann.socket().await, bob.socket().await);
    let sent = ann.say(&dm, "m-1", "Have you read this?").await.ok(201);
    let (id, seq) = (sent["message_id"].as_str().unwrap(), sent["seq"].as_u64().unwrap());
    let status = async || ann.get(&format!("/api/messages/{id}/receipts")).await.ok(200);
    assert_eq!(status().await["status"], "stored");

    delivered(&mut to_bob, &dm, seq).await;
    receipt(&mut to_ann, &bob, seq, Some(0)).await;
    assert_eq!(status().await["status"], "delivered");
    // A second device of the reader hears of it, too: what was read on one is not unread on the other.
    let mut second = bob.sign_in().await.at(stack, 0).socket().await;
    read(&mut to_bob, &dm, seq).await;
    receipt(&mut to_ann, &bob, seq, Some(seq)).await;
    receipt(&mut second, &bob, seq, Some(seq)).await;
    let now = status().await;
    assert_eq!((&now["status"], &now["recipients"], &now["read"]), (&json!("read"), &json!(1), &json!(1)), "{now}");
    let mine = bob.get(&format!("/api/conversations/{dm}")).await.ok(200)["conversation"].clone();
    assert_eq!((&mine["read_seq"], &mine["unread_count"]), (&json!(seq), &json!(0)));

    // Watermarks only rise, whatever way they come.
    delivered(&mut to_bob, &dm, 1).await;
    bob.request("PUT", &format!("/api/conversations/{dm}/read"), json!({ "seq": 1 })).await.ok(204);
    receipt(&mut to_ann, &bob, 1, Some(1)).await;
    let all = ann.get(&format!("/api/conversations/{dm}/receipts")).await.ok(200);
    let of_bob = all["receipts"].as_array().unwrap().iter().find(|one| one["user_id"] == bob.id).unwrap();
    assert_eq!((&of_bob["delivered_seq"], &of_bob["read_seq"]), (&json!(seq), &json!(seq)), "{all}");
}

pub async fn who_wants_no_read_receipts_shows_none(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let me = bob.request("PATCH", "/api/auth/me", json!({ "read_receipts": false })).await.ok(200);
    assert_eq!(me["read_receipts"], false);
    let dm = ann.dm(&bob).await;
    let (mut to_ann, mut to_bob) = (ann.socket().await, bob.socket().await);
    let mut second = bob.sign_in().await.socket().await;
    let sent = ann.say(&dm, "m-1", "Read?").await.ok(201);
    let (id, seq) = (sent["message_id"].as_str().unwrap(), sent["seq"].as_u64().unwrap());
    read(&mut to_bob, &dm, seq).await;
    // The others learn that it arrived; his other device learns all.
    receipt(&mut to_ann, &bob, seq, None).await;
    receipt(&mut second, &bob, seq, Some(seq)).await;
    let shown = ann.get(&format!("/api/messages/{id}/receipts")).await.ok(200);
    assert_eq!((&shown["status"], &shown["read"]), (&json!("delivered"), &json!(0)), "{shown}");
    let seen_by = async |user: &User| {
        let all = user.get(&format!("/api/conversations/{dm}/receipts")).await.ok(200);
        let of_bob = all["receipts"].as_array().unwrap().iter().find(|one| one["user_id"] == bob.id).unwrap().clone();
        of_bob["read_seq"].clone()
    };
    assert_eq!((seen_by(&ann).await, seen_by(&bob).await), (Value::Null, json!(seq)));
    let conversation = ann.get(&format!("/api/conversations/{dm}")).await.ok(200);
    assert!(conversation["participants"].as_array().unwrap().iter().all(|one| one["read_seq"].is_null()));
}

pub async fn in_a_crowd_there_are_counts(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 0, "eve").await;
    let mut crowd = vec![bob.clone(), eve.clone()];
    for _ in 0..48 {
        crowd.push(User::sign_up(stack, 0, "one").await);
    }
    let group = ann.group(&crowd.iter().collect::<Vec<_>>()).await;
    let sent = ann.say(&group, "m-1", "To all").await.ok(201);
    let (id, seq) = (sent["message_id"].as_str().unwrap(), sent["seq"].as_u64().unwrap());
    let (mut to_bob, mut to_eve) = (bob.socket().await, eve.socket().await);
    let mut second = bob.sign_in().await.at(stack, 0).socket().await;
    read(&mut to_bob, &group, seq).await;
    delivered(&mut to_eve, &group, seq).await;
    receipt(&mut second, &bob, seq, Some(seq)).await;
    receipt(&mut to_eve, &eve, seq, Some(0)).await;
    let counts = ann.get(&format!("/api/messages/{id}/receipts")).await.ok(200);
    let expected = json!({ "status": "stored", "recipients": 50, "delivered": 2, "read": 1, "receipts": null });
    assert_eq!(counts, expected);
    let all = ann.get(&format!("/api/conversations/{group}/receipts")).await.ok(200);
    assert_eq!(all, json!({ "participants": 51, "receipts": null }));
    // Nobody heard of another's mark: the next frame after a later event is that event.
    ann.say(&group, "m-2", "And again").await.ok(201);
    let next = to_eve.frame().await;
    assert_eq!((&next["type"], &next["client_message_id"]), (&json!("message"), &json!("m-2")), "{next}");
}

pub async fn a_watermark_that_nobody_may_set_is_refused(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let dm = ann.dm(&bob).await;
    let message = ann.say(&dm, "m-1", "Between us").await.ok(201)["message_id"].as_str().unwrap().to_owned();
    let (mut to_bob, mut to_eve) = (bob.socket().await, eve.socket().await);
    read(&mut to_bob, &dm, 99).await;
    assert_eq!(to_bob.wait_for_type("error").await["problem"]["type"], "urn:sealpost:problem:seq-out-of-range");
    delivered(&mut to_eve, &dm, 1).await;
    assert_eq!(to_eve.wait_for_type("error").await["problem"]["status"], 404);
    for path in [format!("/api/conversations/{dm}/receipts"), format!("/api/messages/{message}/receipts")] {
        eve.get(&path).await.ok(404);
    }
}

/// Beyond the end, backwards, in the name of others, for a conversation that was left; and who types or is there where one is not.
pub async fn attack_27_watermarks_and_signs_are_ones_own_and_where_one_is(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob, &eve]).await;
    let path = format!("/api/conversations/{group}");
    let mut last = 0;
    for number in 0..3 {
        last = ann.say(&group, &format!("m-{number}"), "Read this").await.ok(201)["seq"].as_u64().unwrap();
    }
    let mut to_bob = bob.socket().await;
    // Beyond the end, and no number at all.
    for seq in [json!(last + 1), json!(u64::MAX)] {
        for kind in ["message_read", "message_delivered"] {
            let refused = to_bob.refused(&json!({ "type": kind, "conversation_id": group, "seq": seq })).await;
            assert_eq!(refused["type"], "urn:sealpost:problem:seq-out-of-range", "{refused}");
        }
        bob.request("PUT", &format!("{path}/read"), json!({ "seq": seq })).await.is_problem(422, "seq-out-of-range");
    }
    for seq in [json!(-1), json!(1.5), json!("1"), json!(null)] {
        let refused = to_bob.refused(&json!({ "type": "message_read", "conversation_id": group, "seq": seq })).await;
        assert_eq!(refused["type"], "urn:sealpost:problem:malformed", "{refused}");
        bob.request("PUT", &format!("{path}/read"), json!({ "seq": seq })).await.is_problem(422, "invalid");
    }
    // In somebody else's name.
    for kind in ["message_read", "message_delivered"] {
        let forged = json!({ "type": kind, "conversation_id": group, "seq": last, "user_id": eve.id });
        assert_eq!(to_bob.refused(&forged).await["type"], "urn:sealpost:problem:malformed");
    }
    bob.request("PUT", &format!("{path}/read"), json!({ "seq": 1, "user_id": eve.id }))
        .await
        .is_problem(422, "invalid");
    // Backwards.
    read(&mut to_bob, &group, last).await;
    receipt(&mut to_bob, &bob, last, Some(last)).await;
    read(&mut to_bob, &group, 1).await;
    delivered(&mut to_bob, &group, 1).await;
    bob.request("PUT", &format!("{path}/read"), json!({ "seq": 1 })).await.ok(204);
    let marks = async |of: &User| {
        let all = ann.get(&format!("{path}/receipts")).await.ok(200);
        let one = all["receipts"].as_array().unwrap().iter().find(|one| one["user_id"] == of.id).cloned();
        one.map(|one| (one["delivered_seq"].clone(), one["read_seq"].clone()))
    };
    bob.get(&path).await.ok(200);
    assert_eq!(marks(&bob).await, Some((json!(last), json!(last))));
    assert_eq!(marks(&eve).await, Some((json!(0), json!(0))), "nobody reads for her");

    // Of a conversation that was left.
    let mut to_ann = ann.socket().await;
    to_ann.send(&json!({ "type": "watch", "conversation_ids": [group] })).await;
    to_ann.wait_for("who is there", |frame| frame["whole"] == true).await;
    bob.remove(&group, &bob).await.ok(204);
    to_bob.wait_for_type("participant_removed").await;
    for frame in [
        json!({ "type": "message_read", "conversation_id": group, "seq": 1 }),
        json!({ "type": "message_delivered", "conversation_id": group, "seq": 1 }),
        json!({ "type": "typing_start", "conversation_id": group }),
        json!({ "type": "typing_stop", "conversation_id": group }),
        json!({ "type": "watch", "conversation_ids": [group] }),
    ] {
        assert_eq!(to_bob.refused(&frame).await["type"], "urn:sealpost:problem:not-found", "{frame}");
    }
    bob.request("PUT", &format!("{path}/read"), json!({ "seq": 1 })).await.is_problem(404, "not-found");
    bob.get(&format!("{path}/presence")).await.is_problem(404, "not-found");
    bob.get(&format!("{path}/receipts")).await.is_problem(404, "not-found");
    assert_eq!(marks(&bob).await, None);
    let event = ann.say(&group, "m-9", "Is bob typing?").await.ok(201)["seq"].clone();
    to_ann
        .wait_for("the message", |frame| {
            assert!(frame["type"] != "typing_start" || frame["user_id"] != bob.id, "{frame}");
            frame["seq"] == event && frame["type"] == "message"
        })
        .await;
}
