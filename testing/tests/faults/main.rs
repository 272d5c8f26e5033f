//! Crashes and outages: what was acknowledged is there, once, and everybody saw it in one order.
//!
//! Faults are held for as long as they take to show, seen in the answers that clients get; nothing here depends on how fast the
//! machine is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod crashes;
mod outages;

use std::time::Duration;

use sealpost_testing::{Load, Settings, Stack, User};

/// Fast enough for something to be under way at every moment, and slow enough for the machine to do other things.
const BETWEEN: Duration = Duration::from_millis(10);
/// Never reached; a bound all the same.
const MOST: usize = 20_000;

/// Clients hear soon that something is missing.
fn settings() -> Settings {
    Settings::default()
        .set("SEALPOST__LANE__SEND_TIMEOUT_MS", 2000)
        .set("SEALPOST__NATS__PUBLISH_TIMEOUT_MS", 1000)
        .set("SEALPOST__GATEWAY__MAX_RESUME_EVENTS", 100_000)
        // Records that a killed worker had in its hands are soon given to another one.
        .set("SEALPOST__WORKERS__PERSISTENCE__ACK_WAIT_MS", 2000)
        .set("SEALPOST__WORKERS__DELIVERY__ACK_WAIT_MS", 2000)
}

/// Two people in one group, each sending through their own gateway if there are two.
struct Scene {
    ann: User,
    bob: User,
    group: String,
}

impl Scene {
    async fn new(stack: &Stack) -> Self {
        let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
        let group = ann.group(&[&bob]).await;
        Self { ann, bob, group }
    }

    fn loads(&self) -> [Load; 2] {
        [&self.ann, &self.bob].map(|user| Load::start(user, &self.group, MOST, BETWEEN))
    }
}

async fn progress(loads: &[Load], more: u64) {
    for load in loads {
        load.progress(more).await;
    }
}
