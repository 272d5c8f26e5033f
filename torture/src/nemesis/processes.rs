//! Killing, freezing and restarting gateways and workers.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Fault, Plan, World};

/// F1: one after the other, every second or two.
pub async fn kill(world: &World, plan: Plan) {
    let mut random = fastrand::Rng::with_seed(plan.pick);
    let end = Instant::now() + Duration::from_millis(plan.for_ms);
    while Instant::now() < end {
        let process = world.process(random.u64(..));
        let name = process.name().to_owned();
        if world.claim(&name) {
            world.begin(Fault::F1, &name);
            world.killed();
            process.kill();
            sleep(Duration::from_millis(random.u64(0..800))).await;
            process.start();
            world.end(Fault::F1, &name);
            world.release(&name);
        }
        sleep(Duration::from_millis(random.u64(300..1500))).await;
    }
}

/// F3: it keeps its connections and does nothing, then goes on.
pub async fn freeze(world: &World, plan: Plan) {
    let process = world.process(plan.pick);
    let name = process.name().to_owned();
    if !world.claim(&name) {
        return;
    }
    world.begin(Fault::F3, &name);
    process.freeze();
    sleep(Duration::from_millis(plan.for_ms)).await;
    process.thaw();
    world.end(Fault::F3, &name);
    world.release(&name);
}

/// F22: each is asked to stop and started again, as at an upgrade; migrations run meanwhile.
pub async fn roll(world: &World, _: Plan) {
    let names: Vec<String> = world.shared.stack.processes().map(|process| process.name().to_owned()).collect();
    for name in names {
        if !world.claim(&name) {
            continue;
        }
        world.begin(Fault::F22, &name);
        let own = name.clone();
        world
            .blocking(move |stack| {
                if stack.process(&own).id().is_some() {
                    stack.process(&own).terminate();
                }
                if stack.form == sealpost_testing::Form::Cluster {
                    stack.run(&["migrate"]);
                }
                stack.process(&own).start();
            })
            .await;
        world.end(Fault::F22, &name);
        world.release(&name);
        sleep(Duration::from_millis(500)).await;
    }
}

/// F17: a gateway comes back without the keys of the messages, and then without the key that signs. It must say so and end, rather than
/// serve; and with its keys it must read everything.
pub async fn without_keys(world: &World, plan: Plan) {
    let name = format!("gateway-{}", 1 + plan.pick % 2);
    if !world.claim(&name) {
        return;
    }
    world.begin(Fault::F17, &name);
    world.killed();
    let own = name.clone();
    world
        .blocking(move |stack| {
            let process = stack.process(&own);
            process.kill();
            for missing in ["FERNET_KEYS", "SIGNING_KEY"] {
                process.start_with(&[(missing, "")]);
                let status = process.wait_for_end();
                assert!(!status.success(), "{own} ended as if nothing was wrong without {missing}");
                assert!(process.log_text().contains(missing), "{own} did not say that {missing} is missing");
            }
            process.start();
        })
        .await;
    world.end(Fault::F17, &name);
    world.release(&name);
}
