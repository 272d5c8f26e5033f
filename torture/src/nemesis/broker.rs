//! What happens to NATS.

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
