//! What happens to NATS.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::{Fault, Plan, World};

/// F4: killed, and back after a moment.
pub async fn kill(world: &World, plan: Plan) {
    world.begin(Fault::F4, "nats");
    world.killed();
    world.blocking(|stack| stack.nats().kill()).await;
    sleep(Duration::from_millis(plan.pick % 2500)).await;
    world.shared.stack.nats().start();
    world.end(Fault::F4, "nats");
}

/// F5: it comes back with its files of some seconds ago, as after a power cut without a sync.
pub async fn set_back(world: &World, plan: Plan) {
    let older = world.blocking(sealpost_testing::Stack::copy_broker).await;
    sleep(Duration::from_millis(plan.for_ms.min(1000 + plan.pick % 4000))).await;
    world.begin(Fault::F5, "nats");
    world.killed();
    world
        .blocking(|stack| {
            stack.nats().kill();
            stack.bring_back_broker(older);
            stack.nats().start();
        })
        .await;
    world.end(Fault::F5, "nats");
}

/// F6: somebody deletes a worker's consumer.
pub async fn delete_consumer(world: &World, plan: Plan) {
    let name = if plan.pick.is_multiple_of(2) { "persistence" } else { "delivery" };
    let Ok(client) = async_nats::connect(world.shared.stack.nats_url()).await else { return };
    world.begin(Fault::F6, name);
    if let Ok(stream) = async_nats::jetstream::new(client).get_stream("CHAT").await {
        let _ = stream.delete_consumer(name).await;
    }
    world.end(Fault::F6, name);
}

/// F6S: somebody deletes the whole stream, with all that is not stored yet.
pub async fn delete_stream(world: &World, _: Plan) {
    let Ok(client) = async_nats::connect(world.shared.stack.nats_url()).await else { return };
    world.begin(Fault::F6S, "stream");
    let _ = async_nats::jetstream::new(client).delete_stream("CHAT").await;
    world.end(Fault::F6S, "stream");
}

/// F7: the broker that leads the event log dies or stands still, and the others go on without it.
pub async fn lose_the_leader(world: &World, plan: Plan) {
    let Some(name) = leader(world).await else { return };
    let broker = world.shared.stack.brokers().iter().find(|broker| broker.name() == name);
    let broker = broker.unwrap_or_else(|| panic!("no broker is called {name}"));
    let freeze = plan.pick.is_multiple_of(2);
    let target = format!("{name} {}", if freeze { "frozen" } else { "killed" });
    world.begin(Fault::F7, &target);
    if freeze {
        broker.freeze();
        sleep(Duration::from_millis(plan.for_ms)).await;
        broker.thaw();
    } else {
        world.killed();
        broker.kill();
        sleep(Duration::from_millis(plan.for_ms)).await;
        broker.start();
    }
    world.end(Fault::F7, &target);
}

async fn leader(world: &World) -> Option<String> {
    for url in world.shared.stack.nats_urls() {
        let Ok(client) = async_nats::connect(url).await else { continue };
        let Ok(mut stream) = async_nats::jetstream::new(client).get_stream("CHAT").await else { continue };
        if let Ok(info) = stream.info().await
            && let Some(cluster) = &info.cluster
        {
            return cluster.leader.clone();
        }
    }
    None
}

/// F21: one bit of the log's files is another when the broker comes back.
pub async fn flip_a_bit(world: &World, plan: Plan) {
    sleep(Duration::from_millis(plan.for_ms / 2)).await;
    world.begin(Fault::F21, "nats");
    world.killed();
    world
        .blocking(move |stack| {
            stack.nats().kill();
            if let Some(block) = newest(&stack.folder().join("nats"), ".blk") {
                flip(&block, plan.pick);
            }
            stack.nats().start();
        })
        .await;
    world.end(Fault::F21, "nats");
}

/// The file below this folder that was written last, of those whose names end so.
fn newest(folder: &Path, end: &str) -> Option<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let (path, Ok(about)) = (entry.path(), entry.metadata()) else { continue };
            if about.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                files.push((about.modified().ok()?, path));
            }
        }
    }
    files.into_iter().max().map(|(_, path)| path)
}

/// Among the last quarter, which the log wrote last.
pub(super) fn flip(file: &Path, pick: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    let (length, quarter) = (bytes.len(), bytes.len() / 4);
    if quarter == 0 {
        return;
    }
    let index = length - 1 - usize::try_from(pick).unwrap_or(0) % quarter;
    bytes[index] ^= 1 << (pick % 8);
    std::fs::write(file, bytes).unwrap();
}

/// F16: records that no worker can read. Each becomes a dead letter of both workers.
pub async fn poison(world: &World, plan: Plan) {
    let Ok(client) = async_nats::connect(world.shared.stack.nats_url()).await else { return };
    let jetstream = async_nats::jetstream::new(client);
    world.begin(Fault::F16, "nats");
    let noise = vec![0xff; 100_000];
    let kinds: [&[u8]; 4] = [b"not json", b"{}", br#"{"v":99}"#, &noise];
    for (number, payload) in (0..).zip(kinds) {
        let subject = format!("chat.poison-{}-{number}", plan.pick);
        let Ok(published) = jetstream.publish(subject, payload.to_vec().into()).await else { continue };
        if published.await.is_ok() {
            world.made_dead_letters.fetch_add(2, Ordering::Relaxed);
        }
    }
    world.end(Fault::F16, "nats");
}
