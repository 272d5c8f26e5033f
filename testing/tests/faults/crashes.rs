//! Each process killed in turn, while messages are on their way.

use sealpost_testing::{Form, Load, Process, Sent, Stack, check_history, message};
use serde_json::json;
use tempfile::TempDir;

use crate::{Scene, progress, settings};

async fn finish_and_check(stack: &Stack, scene: &Scene, loads: [Load; 2]) -> Vec<Sent> {
    let mut sent = Vec::new();
    for load in loads {
        sent.push(load.finish().await);
    }
    stack.settle().await;
    check_history(&scene.bob, &scene.group, &mut sent).await;
    sent.iter().for_each(Sent::print);
    sent
}

#[tokio::test]
async fn embedded_nothing_acknowledged_is_lost_in_a_crash() {
    let stack = Stack::start(Form::Embedded, settings()).await;
    let scene = Scene::new(&stack).await;
    let loads = scene.loads();
    for _ in 0..4 {
        progress(&loads, 60).await;
        stack.process("serve-1").kill_and_start();
    }
    progress(&loads, 20).await;
    let sent = finish_and_check(&stack, &scene, loads).await;
    assert!(sent.iter().all(|sent| sent.reconnects >= 4));
}

#[tokio::test]
async fn cluster_nothing_acknowledged_is_lost_when_any_process_crashes() {
    let stack = Stack::start(Form::Cluster, settings()).await;
    let scene = Scene::new(&stack).await;
    let loads = scene.loads();
    for process in stack.processes() {
        progress(&loads, 40).await;
        process.kill_and_start();
    }
    progress(&loads, 40).await;
    let sent = finish_and_check(&stack, &scene, loads).await;
    assert!(sent.iter().all(|sent| sent.reconnects >= 1));
}

/// A process that stands still keeps its connections and locks; what it does when it goes on must not be done twice.
#[tokio::test]
async fn cluster_a_frozen_process_does_no_harm_when_it_goes_on() {
    let stack = Stack::start(Form::Cluster, settings()).await;
    let scene = Scene::new(&stack).await;
    let loads = scene.loads();
    progress(&loads, 40).await;
    // One worker of each kind, then ann's gateway; the others go on.
    let workers = ["persistence-1", "delivery-2"].map(|name| stack.process(name));
    workers.into_iter().for_each(Process::freeze);
    progress(&loads, 60).await;
    workers.into_iter().for_each(Process::thaw);
    progress(&loads, 20).await;
    stack.process("gateway-1").freeze();
    progress(&loads[1..], 60).await;
    stack.process("gateway-1").thaw();
    progress(&loads, 40).await;
    finish_and_check(&stack, &scene, loads).await;
}

#[tokio::test]
async fn cluster_nothing_acknowledged_is_lost_when_everything_crashes_at_once() {
    let stack = Stack::start(Form::Cluster, settings()).await;
    let scene = Scene::new(&stack).await;
    let loads = scene.loads();
    for _ in 0..2 {
        progress(&loads, 40).await;
        stack.nats().kill();
        stack.processes().for_each(Process::kill);
        stack.nats().start();
        stack.launch();
    }
    progress(&loads, 40).await;
    finish_and_check(&stack, &scene, loads).await;
}

/// A broker that was not asked to sync comes back from a power cut with an older state of its files.
#[tokio::test]
async fn cluster_a_broker_that_forgot_its_last_records_gets_them_again() {
    let stack = Stack::start(Form::Cluster, settings()).await;
    let scene = Scene::new(&stack).await;
    let loads = scene.loads();
    progress(&loads, 40).await;
    let older = stack.copy_broker();
    progress(&loads, 40).await;
    stack.nats().kill();
    stack.bring_back_broker(older);
    stack.nats().start();
    progress(&loads, 40).await;
    finish_and_check(&stack, &scene, loads).await;
}

/// A power cut: everything ends, and the broker's last records are gone. What was acknowledged as stored is in the store.
#[tokio::test]
async fn cluster_stored_messages_survive_the_end_of_all_and_of_the_brokers_tail() {
    let stack = Stack::start(Form::Cluster, settings()).await;
    let scene = Scene::new(&stack).await;
    let loads = scene.loads();
    progress(&loads, 40).await;
    let older = stack.copy_broker();
    progress(&loads, 40).await;
    // What is seen and not stored yet may go with the machine, so nothing is on its way now.
    let before = finish_and_check(&stack, &scene, loads).await;
    cut_the_power(&stack, older);
    stack.ready().await;
    let again = scene.loads();
    progress(&again, 40).await;
    let after = finish_and_check(&stack, &scene, again).await;
    let history = scene.ann.history(&scene.group).await;
    for (message_id, seq) in before.iter().chain(&after).flat_map(|sent| sent.acks.values()) {
        assert!(
            history.iter().any(|message| message.seq == *seq && message.message_id == *message_id),
            "{seq} is lost"
        );
    }
}

/// Workers store in any order. If the log loses what one of them had not stored yet, its numbers must not stay open for ever.
#[tokio::test]
async fn cluster_numbers_that_a_power_cut_took_are_closed() {
    let stack = Stack::start(Form::Cluster, settings()).await;
    let scene = Scene::new(&stack).await;
    let mut to_ann = scene.ann.socket().await;
    to_ann.say(&scene.group, "warm", "up").await;
    stack.settle().await;
    let older = stack.copy_broker();
    // It keeps what it is handed, so that the other one stores only a part.
    stack.process("persistence-1").freeze();
    let mut stored = Vec::new();
    for number in 0..40 {
        let name = format!("m-{number}");
        let mut frame = message(&scene.group, &name, &name);
        frame["ack"] = json!("accepted");
        to_ann.send(&frame).await;
        // One record each.
        let ack = to_ann.wait_for("an ack", |ack| ack["type"] == "message_ack").await;
        stored.extend((ack["stored"] == true).then_some(name));
    }
    while stored.len() < 10 {
        let frame = to_ann.wait_for_type("stored").await;
        stored.push(frame["client_message_id"].as_str().unwrap().to_owned());
    }
    cut_the_power(&stack, older);
    stack.ready().await;
    let after = scene.bob.socket().await.say(&scene.group, "after", "the cut").await;
    stack.settle().await;
    let full = check_history(&scene.bob, &scene.group, &mut []).await;
    assert!(full.seq(&scene.group) >= after["seq"].as_u64().unwrap());
    let texts = full.texts(&scene.group);
    assert!(stored.iter().all(|name| texts.contains(name)), "said to be stored, and lost: {stored:?} and {texts:?}");
}

/// Both copies of an accepted event go: the log's with its stream, the gateway's with its process. Its number goes to another event, and
/// who saw the first one is told. What was stored stays.
#[tokio::test]
async fn cluster_what_was_shown_and_is_lost_for_good_is_taken_back() {
    let stack = Stack::start(Form::Cluster, settings()).await;
    let scene = Scene::new(&stack).await;
    let (mut to_ann, mut to_bob) = (scene.ann.socket().await, scene.bob.socket().await);
    let warm = to_ann.say(&scene.group, "warm", "up").await["seq"].as_u64().unwrap();
    stack.settle().await;
    to_bob.wait_for_seq(&scene.group, warm).await;
    stack.processes_named("persistence").for_each(Process::kill);
    for name in ["one", "two"] {
        let mut frame = message(&scene.group, name, name);
        frame["ack"] = json!("accepted");
        to_ann.send(&frame).await;
        let ack = to_ann.wait_for_type("message_ack").await;
        assert_eq!(ack["stored"], false, "{ack}");
    }
    to_bob.wait_for_seq(&scene.group, warm + 2).await;
    assert_eq!(to_bob.view.texts(&scene.group), ["up", "one", "two"]);
    stack.process("gateway-1").kill();
    let streams = async_nats::jetstream::new(async_nats::connect(stack.nats_url()).await.unwrap());
    streams.delete_stream("CHAT").await.unwrap();
    stack.processes_named("persistence").for_each(Process::start);
    let ack = to_bob.say(&scene.group, "other", "another").await;
    assert_eq!(ack["seq"], warm + 1, "{ack}");
    let rewound = to_bob.wait_for_type("rewound").await;
    assert_eq!(rewound["after_seq"], warm, "{rewound}");
    to_bob.wait_for_seq(&scene.group, warm + 1).await;
    assert_eq!(to_bob.view.texts(&scene.group), ["up", "another"]);
    // The sender, who was never told that they are stored, sends them again.
    stack.process("gateway-1").start();
    stack.ready().await;
    let mut to_ann = scene.ann.socket().await;
    for name in ["one", "two"] {
        let mut again = message(&scene.group, name, name);
        again["retry"] = json!(true);
        to_ann.send(&again).await;
        let ack = to_ann.wait_for_type("message_ack").await;
        to_bob.wait_for_seq(&scene.group, ack["seq"].as_u64().unwrap()).await;
    }
    stack.settle().await;
    assert_eq!(to_bob.view.texts(&scene.group), ["up", "another", "one", "two"]);
}

fn cut_the_power(stack: &Stack, older: TempDir) {
    stack.processes().for_each(Process::kill);
    stack.nats().kill();
    stack.bring_back_broker(older);
    stack.nats().start();
    stack.launch();
}
