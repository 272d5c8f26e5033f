//! Each process killed in turn, while messages are on their way.

use sealpost_testing::{Form, Load, Process, Sent, Stack, check_history};

use crate::{Scene, progress, settings};

async fn finish_and_check(stack: &Stack, scene: &Scene, loads: [Load; 2]) -> Vec<Sent> {
    let mut sent = Vec::new();
    for load in loads {
        sent.push(load.finish().await);
    }
    stack.settle().await;
    check_history(&scene.bob, &scene.group, &mut sent).await;
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
