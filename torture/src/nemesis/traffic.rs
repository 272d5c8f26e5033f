//! Clients that do too much, or too little.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sealpost_testing::{Api, Incoming, Socket};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Fault, Plan, World};
use crate::history::{Resources, Usage, What};
use crate::measure::usage;

/// Sockets that never read. The bound of one is a MiB, and the slack of the checker for memory is a little more than so many.
const SLOW_READERS: usize = 48;

/// F12: sockets that ask for everything there is and read nothing. What the gateways hold for them shows in their memory.
pub async fn never_read(world: &World, plan: Plan) {
    world.begin(Fault::F12, "gateways");
    let mut sockets = Vec::new();
    let before = resident(world);
    for number in 0..SLOW_READERS {
        let user = &world.shared.directory.users[number % world.shared.directory.users.len()];
        let base = world.shared.stack.url(number);
        let connect = sealpost_testing::Connect::to(&base)
            .header("authorization", &format!("Bearer {}", user.access_token))
            .path("/ws?resume=true")
            .receive_buffer(4096);
        let Ok(Ok(mut socket)) = timeout(Duration::from_secs(5), connect.open()).await else { continue };
        socket.try_send(&json!({ "type": "resume", "cursor": {} })).await;
        sockets.push(socket);
    }
    let end = tokio::time::Instant::now() + Duration::from_millis(plan.for_ms);
    let mut most = before;
    while tokio::time::Instant::now() < end {
        sleep(Duration::from_millis(250)).await;
        most = most.max(resident(world));
    }
    let usage = |resident_kib| Usage { resident_kib, ..Usage::default() };
    let process = format!("the gateways with {} connections that never read", sockets.len());
    let resources = Resources { process, before: usage(before), after: usage(most) };
    world.shared.recorder.note(What::Resources(resources));
    let closed = sockets.into_iter().map(end_of).collect::<JoinSet<_>>().join_all().await;
    world.shared.recorder.note(What::SlowReaders { codes: closed });
    world.end(Fault::F12, "gateways");
}

/// How a connection was ended by the server: with which code, or none if it was just cut, or 0 if it was not ended at all.
async fn end_of(mut socket: Socket) -> Option<u16> {
    let read = async {
        loop {
            if let Incoming::Closed(code) = socket.next().await {
                return code;
            }
        }
    };
    timeout(Duration::from_secs(3), read).await.unwrap_or(Some(0))
}

/// Of all gateways, in KiB.
fn resident(world: &World) -> u64 {
    let stack = &world.shared.stack;
    let gateways = stack.processes_named("gateway").chain(stack.processes_named("serve"));
    gateways.filter_map(|process| Some(usage(process.id()?)?.resident_kib)).sum()
}

/// F14: what clients send, they send eight times at once, through all gateways.
pub async fn duplicates(world: &World, plan: Plan) {
    world.begin(Fault::F14, "clients");
    world.shared.duplicates.store(true, Ordering::Relaxed);
    sleep(Duration::from_millis(plan.for_ms)).await;
    world.shared.duplicates.store(false, Ordering::Relaxed);
    world.end(Fault::F14, "clients");
}

/// F19: connections that say nothing, and sign-ins with wrong passwords, which cost the server a hash each.
pub async fn flood(world: &World, plan: Plan) {
    world.begin(Fault::F19, "gateways");
    let mut idle = Vec::new();
    for number in 0..400 {
        let base = world.shared.stack.url(number);
        if let Ok(stream) = TcpStream::connect(base.trim_start_matches("http://")).await {
            idle.push(stream);
        }
    }
    let mut wrong = JoinSet::new();
    for number in 0..40 {
        let user = &world.shared.directory.users[number % world.shared.directory.users.len()];
        let body = json!({ "username": user.username, "password": "wrong horse battery" });
        let api = Api::new(&world.shared.stack.url(number)).patience(Duration::from_secs(10));
        wrong.spawn(
            async move { api.try_request("POST", "/api/auth/signin", None, &body).await.map(|reply| reply.status) },
        );
    }
    while let Some(status) = wrong.join_next().await {
        assert_ne!(status.unwrap(), Some(200), "signed in with a wrong password");
    }
    sleep(Duration::from_millis(plan.for_ms / 2)).await;
    drop(idle);
    world.end(Fault::F19, "gateways");
}
