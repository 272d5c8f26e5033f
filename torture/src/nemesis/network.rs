//! What happens on the way.

use std::time::Duration;

use sealpost_testing::{Proxy, Weather};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Fault, Plan, World};

/// F13: one way goes dead and nobody is told: a gateway's to its clients, or a process's to NATS or Postgres.
pub async fn black_hole(world: &World, plan: Plan) {
    let stack = &world.shared.stack;
    let process = world.process(plan.pick / 4);
    let links = stack.links(process.name());
    let (target, ways): (String, Vec<&Proxy>) = match (plan.pick % 4, links) {
        (1, Some(links)) => (format!("{} to NATS", process.name()), vec![&links.nats]),
        (2, Some(links)) => (format!("{} to Postgres", process.name()), vec![&links.postgres]),
        (3, Some(links)) => (format!("{} to both", process.name()), vec![&links.nats, &links.postgres]),
        _ => {
            let front = usize::try_from(plan.pick / 4).unwrap_or(0) % stack.fronts().len();
            (format!("clients of gateway {}", front + 1), vec![&stack.fronts()[front]])
        }
    };
    world.begin(Fault::F13, &target);
    set(&ways, Weather::BlackHole);
    sleep(Duration::from_millis(plan.for_ms)).await;
    set(&ways, Weather::Clear);
    // Half the time what was open then is gone for good, as when a middlebox forgot it.
    if plan.pick % 8 >= 4 {
        for way in &ways {
            way.cut();
        }
    }
    world.end(Fault::F13, &target);
}

fn set(ways: &[&Proxy], weather: Weather) {
    for way in ways {
        way.set(weather);
    }
}

/// F18: every byte by itself, and beside it clients that send rubbish.
pub async fn drizzle(world: &World, plan: Plan) {
    let stack = &world.shared.stack;
    world.begin(Fault::F18, "gateways");
    stack.fronts().iter().for_each(|front| front.set(Weather::Drizzle));
    let mut random = fastrand::Rng::with_seed(plan.pick);
    for round in 0..plan.for_ms / 250 {
        let base = world.shared.gateway(usize::try_from(round).unwrap_or(0));
        rubbish(base.trim_start_matches("http://"), &mut random).await;
        sleep(Duration::from_millis(250)).await;
    }
    stack.fronts().iter().for_each(|front| front.set(Weather::Clear));
    world.end(Fault::F18, "gateways");
}

/// Half a request, a frame that promises more than comes, noise.
async fn rubbish(address: &str, random: &mut fastrand::Rng) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut bytes = upgrade.as_bytes().to_vec();
    match random.u32(0..4) {
        0 => bytes.truncate(random.usize(1..bytes.len())),
        // A text frame of 2^40 bytes.
        1 => bytes.extend([0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        // Broken UTF-8, a reserved opcode.
        2 => bytes.extend([0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe, 0x8b, 0x80, 0, 0, 0, 0]),
        _ => bytes = std::iter::repeat_with(|| random.u8(..)).take(2000).collect(),
    }
    let _ = stream.write_all(&bytes).await;
    sleep(Duration::from_millis(50)).await;
}

/// F20: everybody comes back at once.
pub async fn storm(world: &World, plan: Plan) {
    for _ in 0..=plan.pick % 3 {
        world.begin(Fault::F20, "gateways");
        world.shared.stack.fronts().iter().for_each(Proxy::cut);
        world.end(Fault::F20, "gateways");
        sleep(Duration::from_millis(plan.for_ms / 4)).await;
    }
}
