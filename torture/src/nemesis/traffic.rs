//! Clients that do too much, or too little.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sealpost_testing::Api;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Fault, Plan, World};

/// F12: sockets that ask for everything there is and read nothing.
pub async fn never_read(world: &World, plan: Plan) {
    world.begin(Fault::F12, "gateways");
    let mut sockets = Vec::new();
    for number in 0..6 {
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
    sleep(Duration::from_millis(plan.for_ms)).await;
    drop(sockets);
    world.end(Fault::F12, "gateways");
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
    let mut wrong = tokio::task::JoinSet::new();
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
