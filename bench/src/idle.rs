//! Connections that do nothing, and the memory they cost the server.

use std::ops::Range;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::population::{Account, Population};
use crate::processes::{self, Watched};
use crate::report::{float, per, print, table};
use crate::socket::{IDLE_BUFFER, Socket};

/// Half of what a user may open by default.
const CONNECTIONS_PER_USER: usize = 25;
const FEWEST_USERS: usize = 20;
const CONNECTS_AT_ONCE: usize = 16;
/// Opened before the first measurement, so that what the server does once is not counted.
const FIRST: usize = 40;
/// Time for the server to finish what connecting began.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Serialize)]
pub struct IdleReport {
    pub connections: usize,
    /// Still open at the measurement.
    pub open: usize,
    pub growth_kib_per_connection: Vec<Growth>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Growth {
    pub name: String,
    pub kib_per_connection: f64,
}

impl IdleReport {
    /// The growth of all processes whose name passes.
    pub fn kib_per_connection(&self, counts: impl Fn(&str) -> bool) -> f64 {
        let counted = self.growth_kib_per_connection.iter().filter(|growth| counts(&growth.name));
        counted.map(|growth| growth.kib_per_connection).sum()
    }

    pub fn print(&self) {
        print(&format!("\nidle: {} connections, {} open at the end", self.connections, self.open));
        let mut rows = vec![["process", "KiB per connection"].map(str::to_owned).to_vec()];
        for growth in &self.growth_kib_per_connection {
            rows.push(vec![growth.name.clone(), format!("{:.1}", growth.kib_per_connection)]);
        }
        print(&table(&rows));
    }
}

/// Users that are needed for this many connections.
pub fn users(connections: usize) -> usize {
    (connections + FIRST).div_ceil(CONNECTIONS_PER_USER).max(FEWEST_USERS)
}

/// To be exact, start the server anew after its users have signed up: the memory that Argon2 gave back would hide what
/// connections take.
pub async fn run(population: &mut Population, connections: usize, watched: &[Watched]) -> anyhow::Result<IdleReport> {
    let users = users(connections);
    population.grow_to(users).await?;
    let users = population.first(users);
    let mut tasks = JoinSet::new();
    open(population, users, 0..FIRST, &mut tasks).await?;
    tokio::time::sleep(SETTLE).await;
    let before = processes::sample(watched);
    open(population, users, FIRST..FIRST + connections, &mut tasks).await?;
    tokio::time::sleep(SETTLE).await;
    let after = processes::sample(watched);
    let mut closed = 0;
    while tasks.try_join_next().is_some() {
        closed += 1;
    }
    let growth = |((process, before), after): ((&Watched, &processes::Sample), &processes::Sample)| Growth {
        name: process.name.clone(),
        kib_per_connection: per(float(after.memory_kib) - float(before.memory_kib), float(connections as u64)),
    };
    let growth_kib_per_connection = watched.iter().zip(&before).zip(&after).map(growth).collect();
    Ok(IdleReport { connections, open: connections.saturating_sub(closed), growth_kib_per_connection })
}

async fn open(
    population: &Population,
    users: &[Account],
    numbers: Range<usize>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let connect = |number: usize| population.connect(&users[number % users.len()], IDLE_BUFFER);
    let mut sockets = stream::iter(numbers).map(connect).buffer_unordered(CONNECTS_AT_ONCE);
    while let Some(connected) = sockets.next().await {
        let (socket, _) = connected.context("cannot open the idle connections")?;
        tasks.spawn(stay(socket));
    }
    Ok(())
}

/// Answers the server's pings until the connection ends.
async fn stay(mut socket: Socket) {
    while let Some(Ok(_)) = socket.next().await {}
}
