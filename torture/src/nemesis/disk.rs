//! F9: the disk is full. On a cluster that of Postgres, embedded that of everything.

use std::time::Duration;

use sealpost_testing::Form;
use tokio::time::sleep;

use super::{Fault, Plan, World};

pub async fn fill(world: &World, plan: Plan) {
    let target = if world.shared.stack.form == Form::Cluster { "postgres" } else { "everything" };
    world.begin(Fault::F9, target);
    world.blocking(|stack| stack.disk().expect("a small disk").fill()).await;
    sleep(Duration::from_millis(plan.for_ms)).await;
    world
        .blocking(|stack| {
            stack.disk().expect("a small disk").free();
            // Postgres gives up when it cannot write its log.
            if stack.form == Form::Cluster {
                stack.database().start_if_ended();
            }
        })
        .await;
    world.end(Fault::F9, target);
}
