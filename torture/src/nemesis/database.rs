//! What happens to Postgres.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::time::{sleep, timeout};

use super::{Fault, Plan, World};
use sealpost_testing::Weather;

/// F8: a crash, an orderly stop, or only the end of all connections.
pub async fn crash(world: &World, plan: Plan) {
    let away = Duration::from_millis(500 + plan.pick % 2500);
    match plan.pick % 3 {
        0 => {
            world.begin(Fault::F8, "postgres, crash");
            world.killed();
            world.blocking(|stack| stack.database().crash()).await;
            sleep(away).await;
            world.blocking(|stack| stack.database().start()).await;
            world.end(Fault::F8, "postgres, crash");
        }
        1 => {
            world.begin(Fault::F8, "postgres, stop");
            world.blocking(|stack| stack.database().stop()).await;
            sleep(away).await;
            world.blocking(|stack| stack.database().start()).await;
            world.end(Fault::F8, "postgres, stop");
        }
        _ => {
            world.begin(Fault::F8, "postgres, connections");
            for _ in 0..3 {
                terminate(world).await;
                sleep(Duration::from_millis(700)).await;
            }
            world.end(Fault::F8, "postgres, connections");
        }
    }
}

async fn terminate(world: &World) {
    let Ok(mut connection) = PgConnection::connect(&world.shared.stack.database().url()).await else { return };
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let _ = connection.execute(sql).await;
}

/// F10: every packet is late, then nobody can write for a while.
pub async fn slow(world: &World, plan: Plan) {
    world.begin(Fault::F10, "postgres");
    let links = || world.shared.stack.processes().filter_map(|process| world.shared.stack.links(process.name()));
    links().for_each(|links| links.postgres.set(Weather::Slow(Duration::from_millis(plan.pick % 150))));
    sleep(Duration::from_millis(plan.for_ms / 2)).await;
    links().for_each(|links| links.postgres.set(Weather::Clear));
    if let Ok(mut connection) = PgConnection::connect(&world.shared.stack.database().url()).await {
        let hold = plan.for_ms / 2;
        let sql = format!("BEGIN; LOCK TABLE events IN EXCLUSIVE MODE; SELECT pg_sleep({hold} / 1000.0); COMMIT");
        let _ = timeout(Duration::from_millis(hold * 3), connection.execute(AssertSqlSafe(sql))).await;
    }
    world.end(Fault::F10, "postgres");
}

/// F11: after so many bytes, wherever that is, COMMIT included.
pub async fn cut(world: &World, plan: Plan) {
    let mut random = fastrand::Rng::with_seed(plan.pick);
    world.begin(Fault::F11, "postgres");
    for _ in 0..plan.for_ms / 500 {
        for process in world.shared.stack.processes() {
            if let Some(links) = world.shared.stack.links(process.name()) {
                links.postgres.cut_after(random.u32(1..4000));
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
    world.end(Fault::F11, "postgres");
}
