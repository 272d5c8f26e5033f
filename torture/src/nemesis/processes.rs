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

/// Where the program can be killed, by the process that passes there.
const POINTS: [(&str, &str); 8] = [
    ("gateway", "lane-appended"),
    ("persistence", "store-before-commit"),
    ("persistence", "store-committed"),
    ("persistence", "store-announced"),
    ("delivery", "delivery-published"),
    ("serve", "log-before-commit"),
    ("serve", "log-committed"),
    ("serve", "store-committed"),
];

/// F2: a process dies between two steps that belong together, each time at another passing.
pub async fn kill_at_a_point(world: &World, plan: Plan) {
    let mut random = fastrand::Rng::with_seed(plan.pick);
    let end = Instant::now() + Duration::from_millis(plan.for_ms);
    while Instant::now() < end {
        let process = world.process(random.u64(..));
        let name = process.name().to_owned();
        let kind = name.split('-').next().unwrap_or_default();
        let points: Vec<_> = POINTS.iter().filter(|(who, _)| *who == kind).map(|(_, point)| *point).collect();
        if points.is_empty() || !world.claim(&name) {
            sleep(Duration::from_millis(5)).await;
            continue;
        }
        let wanted = format!("{}:{}", points[random.usize(..points.len())], random.u32(1..30));
        let target = format!("{name} at {wanted}");
        world.begin(Fault::F2, &target);
        process.kill();
        process.start_with(&[("SEALPOST_FAILPOINT", &wanted)]);
        // It comes there when it has worked so much.
        let patience = Instant::now() + Duration::from_secs(4);
        while process.ended().is_none() && Instant::now() < patience {
            sleep(Duration::from_millis(20)).await;
        }
        world.killed();
        process.kill();
        process.start();
        world.end(Fault::F2, &target);
        world.release(&name);
        sleep(Duration::from_millis(random.u64(200..800))).await;
    }
}

/// F15: clocks of processes go wrong by an hour or by a minute and a half, forwards or backwards, and come right again.
pub async fn step_clocks(world: &World, plan: Plan) {
    let mut random = fastrand::Rng::with_seed(plan.pick);
    let names: Vec<String> = world.shared.stack.processes().map(|process| process.name().to_owned()).collect();
    let name = names[random.usize(..names.len())].clone();
    let all = random.u32(0..3) == 0;
    let target = if all { "all clocks" } else { &name };
    let stepped = || names.iter().filter(|other| all || **other == name);
    world.begin(Fault::F15, target);
    let mut left = plan.for_ms;
    while left > 0 {
        let step = [3_600_000, -3_600_000, 90_000, -90_000][random.usize(..4)];
        stepped().for_each(|name| world.shared.stack.step_clock(name, step));
        let span = left.min(2_000);
        sleep(Duration::from_millis(span)).await;
        left -= span;
    }
    stepped().for_each(|name| world.shared.stack.step_clock(name, 0));
    world.end(Fault::F15, target);
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
