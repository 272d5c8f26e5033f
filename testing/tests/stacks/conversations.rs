//! Who is in a conversation, and what they get of it.

use std::time::Duration;

use futures_util::future::join_all;
use sealpost_testing::{Load, Stack, User, message};
use serde_json::json;

pub async fn two_dms_between_the_same_two_are_one(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let body = |other: &User| json!({ "kind": "dm", "participants": [other.id] });
    let first = ann.post("/api/conversations", body(&bob)).await.ok(201);
    let second = bob.post("/api/conversations", body(&ann)).await.ok(200);
    let third = ann.post("/api/conversations", body(&bob)).await.ok(200);
    assert_eq!((&second["id"], &third["id"]), (&first["id"], &first["id"]));
    assert_eq!(bob.get("/api/conversations").await.ok(200)["conversations"].as_array().unwrap().len(), 1);
}

pub async fn racing_dms_are_one(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let mut to_bob = bob.socket().await;
    let asks = (0..20).map(|number| {
        let (from, to) = if number % 2 == 0 { (&ann, &bob) } else { (&bob, &ann) };
        from.post("/api/conversations", json!({ "kind": "dm", "participants": [to.id] }))
    });
    let replies = join_all(asks).await;
    let mut ids: Vec<_> =
        replies.iter().map(|reply| reply.body["id"].as_str().unwrap_or_else(|| panic!("{reply}"))).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 1);
    ann.say(ids[0], "m-1", "one").await.ok(201);
    to_bob.wait_for_seq(ids[0], 2).await;
    assert_eq!(to_bob.view.events(ids[0]).len(), 2);
}

pub async fn a_new_participant_sees_what_comes_on_an_open_socket(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 0, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let mut to_eve = eve.socket().await;
    let group = ann.group(&[&bob]).await;
    ann.say(&group, "m-1", "before").await.ok(201);
    ann.add(&group, &eve, "member").await.ok(200);
    ann.say(&group, "m-2", "after").await.ok(201);
    let seen = to_eve.wait_for_type("message").await;
    assert_eq!(seen["text"], "after", "{seen}");
    let events = to_eve.view.events(&group);
    assert_eq!(events[0]["type"], "participant_added", "{events:?}");
    assert_eq!(events[0]["user_id"], eve.id);
    // And can answer at once.
    to_eve.say(&group, "e-1", "thank you").await;
}

pub async fn a_removed_participant_gets_nothing_more(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob, &eve]).await;
    let (mut to_bob, mut to_eve) = (bob.socket().await, eve.socket().await);
    ann.remove(&group, &bob).await.ok(204);
    let sent = ann.say(&group, "m-1", "without bob").await.ok(201);
    to_eve.wait_for("the message after", |frame| frame["seq"] == sent["seq"]).await;
    // Both sockets are at one gateway: what bob was to get has been queued before this.
    to_bob.ping().await;
    let events = to_bob.view.events(&group);
    assert_eq!(events.last().unwrap()["type"], "participant_removed", "{events:?}");
    bob.say(&group, "b-1", "still here?").await.is_problem(404, "not-found");
    let refused = to_bob.refused(&message(&group, "b-2", "still here?")).await;
    assert_eq!(refused["type"], "urn:sealpost:problem:not-found", "{refused}");
    bob.get(&format!("/api/conversations/{group}/messages")).await.is_problem(404, "not-found");
    // Nor does a new connection.
    let mut again = bob.connect().resume().await.unwrap();
    again.ping().await;
    assert!(again.view.events(&group).is_empty());
}

pub async fn attack_3_racing_messages_of_a_removed_participant_get_no_later_seq(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let (mut to_ann, mut to_bob) = (ann.socket().await, bob.socket().await);
    // Until he hears that he is out, so that his messages are on their way at the very moment.
    let racing = async {
        let (mut seqs, mut sent, mut refused) = (Vec::new(), 0, 0);
        while refused == 0 || sent > seqs.len() + refused {
            if refused == 0 && sent < seqs.len() + 60 {
                let mut frame = message(&group, &format!("b-{sent}"), "let me stay");
                frame["ack"] = json!("accepted");
                to_bob.send(&frame).await;
                sent += 1;
                continue;
            }
            let frame = to_bob.frame().await;
            match frame["type"].as_str().unwrap() {
                "message_ack" => seqs.push(frame["seq"].as_u64().unwrap()),
                "error" => {
                    assert_eq!(frame["problem"]["type"], "urn:sealpost:problem:not-found", "{frame}");
                    refused += 1;
                }
                _ => {}
            }
        }
        seqs
    };
    let removing = async {
        // In the midst of it.
        to_ann.wait_for("some of them", |frame| frame["client_message_id"] == "b-100").await;
        ann.remove(&group, &bob).await.ok(204);
    };
    let (seqs, ()) = tokio::join!(racing, removing);
    let removed = to_ann.wait_for_type("participant_removed").await["seq"].as_u64().unwrap();
    assert!(seqs.iter().all(|&seq| seq < removed), "removed at {removed}, and {:?} is numbered", seqs.iter().max());
    let last = ann.say(&group, "m-1", "gone").await.ok(201);
    to_ann.wait_for_seq(&group, last["seq"].as_u64().unwrap()).await;
    let later = to_ann.view.messages(&group).into_iter().filter(|message| message.seq > removed);
    assert!(later.into_iter().all(|message| message.sender_id == ann.id));
    to_bob.ping().await;
    assert_eq!(to_bob.view.seq(&group), removed);
}

/// Over both ways and through both gateways, while the owner removes the sender: what got a number got it before the removal, and what was
/// refused is nowhere. In rounds, since each has its own moment.
pub async fn attack_3_two_hundred_sends_race_with_the_removal(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    for round in 0..4_u64 {
        let group = ann.group(&[&bob]).await;
        let mut to_ann = ann.socket().await;
        let bobs = [bob.at(stack, 0), bob.at(stack, 1)];
        let mut sockets = [bobs[0].socket().await, bobs[1].socket().await];
        for (number, socket) in sockets.iter_mut().enumerate() {
            for name in 0..50 {
                socket.send(&message(&group, &format!("ws-{number}-{name}"), "let me stay")).await;
            }
        }
        let rest = join_all((0..100).map(|number| {
            let (bob, group) = (&bobs[number % 2], &group);
            async move { (number, bob.say(group, &format!("rest-{number}"), "let me stay").await) }
        }));
        // At another moment of it in each round.
        let removing = async {
            to_ann.wait_for_seq(&group, 2 + round * 40).await;
            ann.remove(&group, &bob).await.ok(204);
            bobs[0].say(&group, "after", "after the answer").await.is_problem(404, "not-found");
            bobs[1].say(&group, "after", "after the answer").await.is_problem(404, "not-found");
        };
        let (rest, ()) = tokio::join!(rest, removing);
        let removed = to_ann.wait_for_type("participant_removed").await["seq"].as_u64().unwrap();

        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for (number, reply) in rest {
            if reply.status == 404 {
                reply.is_problem(404, "not-found");
                refused.push(format!("rest-{number}"));
            } else {
                taken.push((format!("rest-{number}"), reply.ok(201)["seq"].as_u64().unwrap()));
            }
        }
        for socket in &mut sockets {
            for _ in 0..50 {
                let answer =
                    socket.wait_for("an answer", |frame| frame["type"] == "message_ack" || frame["type"] == "error");
                let answer = answer.await;
                let name = answer["client_message_id"].as_str().unwrap().to_owned();
                if answer["type"] == "error" {
                    assert_eq!(answer["problem"]["type"], "urn:sealpost:problem:not-found", "{answer}");
                    refused.push(name);
                } else {
                    taken.push((name, answer["seq"].as_u64().unwrap()));
                }
            }
            socket.ping().await;
            assert!(socket.view.seq(&group) <= removed, "a live socket heard of what came after the removal");
        }
        assert!(taken.iter().all(|(_, seq)| *seq < removed), "removed at {removed}: {taken:?}");
        let last = ann.say(&group, "m-1", "gone").await.ok(201)["seq"].as_u64().unwrap();
        to_ann.wait_for_seq(&group, last).await;
        for socket in &mut sockets {
            socket.ping().await;
            assert!(socket.view.seq(&group) <= removed);
        }
        let history = ann.history(&group).await;
        let of_bob: Vec<_> = history.iter().filter(|message| message.sender_id == bob.id).collect();
        assert!(of_bob.iter().all(|message| message.seq < removed));
        let mut names: Vec<_> = of_bob.iter().map(|message| (message.client_message_id.clone(), message.seq)).collect();
        names.sort();
        taken.sort();
        assert_eq!(names, taken, "what was taken is there, and nothing else");
        assert_eq!(taken.len() + refused.len(), 200);
    }
}

pub async fn a_deleted_conversation_is_gone_for_everybody(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let id = ann.say(&group, "m-1", "soon gone").await.ok(201)["message_id"].as_str().unwrap().to_owned();
    let mut to_bob = bob.socket().await;
    ann.delete(&format!("/api/conversations/{group}")).await.ok(204);
    to_bob.wait_for_type("conversation_deleted").await;
    for user in [&ann, &bob] {
        user.get(&format!("/api/conversations/{group}")).await.is_problem(404, "not-found");
        user.get(&format!("/api/conversations/{group}/messages")).await.is_problem(404, "not-found");
        user.get(&format!("/api/messages/{id}")).await.is_problem(404, "not-found");
        user.say(&group, "m-2", "hello?").await.is_problem(404, "not-found");
    }
    assert_eq!(bob.get("/api/conversations").await.ok(200)["conversations"], json!([]));
}

/// 200 messages from each side at once, through two gateways if there are two.
pub async fn both_ends_read_one_order(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob, &eve]).await;
    let mut to_eve = eve.socket().await;
    let loads = [&ann, &bob].map(|user| Load::start(user, &group, 200, Duration::ZERO));
    let mut sent = Vec::new();
    for load in loads {
        sent.push(load.complete().await);
    }
    assert!(sent.iter().all(|sent| sent.acks.len() == 200 && sent.reconnects == 0 && sent.refused.is_empty()));
    // The limit of a resume is lower: from the beginning there is a gap frame, so the third reader's live view stands for the history.
    let head = 2 + 400;
    to_eve.wait_for_seq(&group, head).await;
    assert_eq!(to_eve.view.messages(&group), eve.history(&group).await);
    for mut one in sent {
        one.socket.wait_for_seq(&group, head).await;
        // The one who connects second may come when the other has begun: everything from there on.
        let (seen, all) = (one.socket.view.messages(&group), to_eve.view.messages(&group));
        assert!(seen.len() >= 200 && all.ends_with(&seen), "{seen:?}");
    }
}
