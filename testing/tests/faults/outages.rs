//! The database or the broker away for a while.

use sealpost_testing::{Form, Process, Sent, Stack, User, check_history, eventually, message};
use serde_json::json;

use crate::{Scene, progress, settings};

/// Live chat goes on, clients are told that nothing is stored, and it is stored afterwards.
#[tokio::test]
async fn chat_goes_on_while_postgres_is_away() {
    let stack = Stack::start(Form::Cluster, settings().own_postgres()).await;
    let scene = Scene::new(&stack).await;
    let loads = scene.loads();
    progress(&loads, 40).await;
    stack.database().stop();
    // `progress` counts acks: they come, and each waits for the ack time-out of a second, a few at a time.
    for load in &loads {
        load.sees(30).await;
    }
    progress(&loads, 16).await;
    let body = json!({ "client_message_id": "rest", "text": "over REST" });
    let reply = scene.ann.post(&format!("/api/conversations/{}/messages", scene.group), body).await.ok(201);
    assert_eq!((&reply["level"], &reply["stored"]), (&json!("accepted"), &json!(false)), "{reply}");
    assert!(!stack.is_ready(0).await, "ready without a database");
    stack.database().start();
    progress(&loads, 20).await;
    let mut sent = Vec::new();
    for load in loads {
        // Ends when a `stored` frame has come for everything that was only accepted.
        sent.push(load.finish().await);
    }
    stack.settle().await;
    assert!(sent.iter().all(|sent| sent.acks_before_stored > 0), "nobody was told that the store is away");
    assert!(sent.iter().all(|sent| sent.reconnects == 0 && sent.refused.is_empty()), "chat did not go on");
    let full = check_history(&scene.bob, &scene.group, &mut sent).await;
    assert!(full.messages(&scene.group).iter().any(|message| message.client_message_id == "rest"));
    stack.ready().await;
}

/// Senders wait, or hear that the outcome is unknown or that nothing was taken; afterwards nothing is double or lost.
#[tokio::test]
async fn nothing_is_lost_or_double_when_nats_crashes() {
    let stack = Stack::start(Form::Cluster, settings()).await;
    let scene = Scene::new(&stack).await;
    let loads = scene.loads();
    for _ in 0..2 {
        progress(&loads, 40).await;
        let before: Vec<_> = loads.iter().map(sealpost_testing::Load::troubles).collect();
        stack.nats().kill();
        for (load, before) in loads.iter().zip(before) {
            eventually("senders to hear of it", async || (load.troubles() > before).then_some(())).await;
        }
        stack.nats().start();
    }
    progress(&loads, 40).await;
    let mut sent = Vec::new();
    for load in loads {
        sent.push(load.finish().await);
    }
    stack.settle().await;
    check_history(&scene.ann, &scene.group, &mut sent).await;
    sent.iter().for_each(Sent::print);
}

/// A removal that was decided while the broker was away takes effect by itself when it is back.
#[tokio::test]
async fn a_control_change_without_nats_takes_effect_later() {
    let stack = Stack::start(Form::Cluster, settings().set("SEALPOST__WORKERS__OUTBOX__GRACE_MS", 500)).await;
    let scene = Scene::new(&stack).await;
    let eve = User::sign_up(&stack, 1, "eve").await;
    scene.ann.add(&scene.group, &eve, "member").await.ok(200);
    let mut to_bob = scene.bob.socket().await;
    stack.nats().kill();
    scene.ann.remove(&scene.group, &eve).await.is_problem(503, "pending");
    // In the store it is decided.
    eve.get(&format!("/api/conversations/{}", scene.group)).await.is_problem(404, "not-found");
    // Its own gateway is gone before it could bring the event.
    stack.process("gateway-1").kill();
    stack.nats().start();
    to_bob
        .wait_for("the removal", |frame| frame["type"] == "participant_removed" && frame["user_id"] == eve.id.as_str())
        .await;
    stack.process("gateway-1").start();
    stack.ready().await;
    stack.settle().await;
}

/// Without a worker that stores, acks say so; `stored` follows.
#[tokio::test]
async fn acks_tell_the_truth_while_no_worker_stores() {
    let stack = Stack::start(Form::Cluster, settings()).await;
    let scene = Scene::new(&stack).await;
    let (mut to_ann, mut to_bob) = (scene.ann.socket().await, scene.bob.socket().await);
    to_ann.say(&scene.group, "warm", "up").await;
    stack.processes_named("persistence").for_each(Process::kill);
    for number in 0..20 {
        to_ann.send(&message(&scene.group, &format!("m-{number}"), "not stored yet")).await;
    }
    for _ in 0..20 {
        let ack = to_ann.wait_for_type("message_ack").await;
        assert_eq!((&ack["level"], &ack["stored"]), (&json!("accepted"), &json!(false)), "{ack}");
    }
    to_bob.wait_for("the last of them", |frame| frame["client_message_id"] == "m-19").await;
    // Read your writes, on both gateways.
    assert_eq!(scene.ann.history(&scene.group).await.len(), 21);
    assert_eq!(scene.bob.history(&scene.group).await, scene.ann.history(&scene.group).await);
    // Nor is a repeat taken for a new message.
    let repeat = json!({ "client_message_id": "m-7", "text": "not stored yet", "retry": true });
    let path = format!("/api/conversations/{}/messages", scene.group);
    for user in [&scene.ann, &scene.ann.at(&stack, 1)] {
        assert_eq!(user.post(&path, repeat.clone()).await.ok(200)["duplicate"], true);
    }
    stack.processes_named("persistence").for_each(Process::start);
    for _ in 0..20 {
        to_ann.wait_for_type("stored").await;
    }
    stack.settle().await;
    check_history(&scene.bob, &scene.group, &mut []).await;
}

/// What was pushed before a gateway listened, and is stored only after it asked the store, comes without another event to show the hole.
#[tokio::test]
async fn who_connects_while_no_worker_stores_gets_it_when_one_does() {
    let stack = Stack::start(Form::Cluster, settings()).await;
    let scene = Scene::new(&stack).await;
    let mut to_ann = scene.ann.socket().await;
    to_ann.say(&scene.group, "warm", "up").await;
    stack.settle().await;
    stack.processes_named("persistence").for_each(Process::kill);
    for number in 0..3 {
        to_ann.send(&message(&scene.group, &format!("m-{number}"), "not stored yet")).await;
    }
    for _ in 0..3 {
        to_ann.wait_for_type("message_ack").await;
    }
    let mut to_bob = scene.bob.socket().await;
    stack.processes_named("persistence").for_each(Process::start);
    to_bob.wait_for("the last of them", |frame| frame["client_message_id"] == "m-2").await;
    stack.settle().await;
}

/// What is stored while a gateway comes up, or comes back to the broker, is not left to a time-out.
#[tokio::test]
async fn a_gateway_that_comes_back_hears_what_is_stored() {
    let stack = Stack::start(Form::Cluster, settings().set("SEALPOST__LANE__ACK_TIMEOUT_MS", 15_000)).await;
    let scene = Scene::new(&stack).await;
    scene.ann.socket().await.say(&scene.group, "warm", "up").await;
    stack.process("gateway-1").kill_and_start();
    stack.ready().await;
    let first = scene.ann.socket().await.say(&scene.group, "m-1", "after the gateway's restart").await;
    assert_eq!(first["stored"], true, "{first}");
    stack.nats().kill_and_start();
    stack.ready().await;
    for (user, name) in [(&scene.ann, "m-2"), (&scene.bob, "m-3")] {
        let first = user.socket().await.say(&scene.group, name, "after the broker's restart").await;
        assert_eq!(first["stored"], true, "{first}");
    }
}

/// Workers store in any order, so what is not stored may lie before what is. The history has it all the same.
#[tokio::test]
async fn a_worker_that_lags_leaves_no_hole_in_what_is_read() {
    let stack =
        Stack::start(Form::Cluster, settings().set("SEALPOST__WORKERS__PERSISTENCE__ACK_WAIT_MS", 20_000)).await;
    let scene = Scene::new(&stack).await;
    let mut to_ann = scene.ann.socket().await;
    to_ann.say(&scene.group, "warm", "up").await;
    stack.process("persistence-1").freeze();
    let mut acks = Vec::new();
    for number in 0..30 {
        let mut frame = message(&scene.group, &format!("m-{number}"), "one record each");
        frame["ack"] = json!("accepted");
        to_ann.send(&frame).await;
        let wait = |frame: &serde_json::Value| frame["type"] == "message_ack";
        acks.push(to_ann.wait_for("an ack", wait).await["message_id"].as_str().unwrap().to_owned());
    }
    for user in [&scene.ann, &scene.bob] {
        assert_eq!(user.history(&scene.group).await.len(), 31, "the history has holes");
        let newest = user.get(&format!("/api/conversations/{}/messages?limit=200", scene.group)).await.ok(200);
        assert_eq!(newest["messages"].as_array().unwrap().len(), 31, "the newest page has holes");
        for id in &acks {
            user.get(&format!("/api/conversations/{}/messages/{id}", scene.group)).await.ok(200);
        }
        let again = user.connect().resume().await.unwrap();
        assert_eq!(again.view.messages(&scene.group).len(), 31);
    }
    // A gateway that starts now knows all of them, too: a repeat is a repeat.
    stack.process("gateway-2").kill_and_start();
    stack.ready().await;
    let path = format!("/api/conversations/{}/messages", scene.group);
    for number in 0..30 {
        let repeat = json!({ "client_message_id": format!("m-{number}"), "text": "one record each", "retry": true });
        let reply = scene.ann.at(&stack, 1).post(&path, repeat).await;
        assert_eq!(reply.status, 200, "{reply}");
    }
    stack.process("persistence-1").thaw();
    stack.settle().await;
    assert_eq!(check_history(&scene.bob, &scene.group, &mut []).await.messages(&scene.group).len(), 31);
}

/// The broker stands still for a moment, so that a removal and later messages of the removed one wait in the same lane together.
#[tokio::test]
async fn messages_that_wait_behind_a_removal_are_refused() {
    let stack = Stack::start(Form::Cluster, settings()).await;
    let scene = Scene::new(&stack).await;
    let bob = scene.bob.at(&stack, 0);
    let (mut to_ann, mut to_bob) = (scene.ann.socket().await, bob.socket().await);
    to_bob.say(&scene.group, "warm", "up").await;
    stack.nats().freeze();
    to_ann.send(&message(&scene.group, "first", "on its way")).await;
    to_ann.ping().await;
    let removing = scene.ann.remove(&scene.group, &bob);
    let posting = async {
        let path = format!("/api/conversations/{}", scene.group);
        eventually("the removal in the store", async || (bob.get(&path).await.status == 404).then_some(())).await;
        for number in 0..40 {
            to_bob.send(&message(&scene.group, &format!("b-{number}"), "let me stay")).await;
            to_bob.ping().await;
        }
        stack.nats().thaw();
    };
    let (removed, ()) = tokio::join!(removing, posting);
    // Or pending, if the machine was slow.
    assert!([204, 503].contains(&removed.status), "{removed}");
    to_bob.wait_for_type("participant_removed").await;
    let last = scene.ann.say(&scene.group, "last", "without bob").await.ok(201)["seq"].as_u64().unwrap();
    to_ann.wait_for_seq(&scene.group, last).await;
    let events = to_ann.view.events(&scene.group);
    let removal = events.iter().position(|event| event["type"] == "participant_removed").unwrap();
    let later =
        events[removal..].iter().filter(|event| event["type"] == "message" && event["sender_id"] == bob.id.as_str());
    assert_eq!(later.count(), 0, "messages of the removed one have later numbers");
}
