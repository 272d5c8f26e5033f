//! What breaks things: a schedule made from the seed alone, and hands that carry it out.

mod broker;
mod database;
mod disk;
mod embedded;
mod fault;
mod network;
mod processes;
mod schedule;
mod traffic;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sealpost_testing::Process;
use tokio::task::JoinSet;

use crate::client::Shared;
use crate::history::What;

pub use fault::{Fault, Means, Skipped, available};
pub use schedule::{Plan, Schedule};

/// What the faults share.
pub struct World {
    pub shared: Arc<Shared>,
    /// Processes that are down because somebody wants it so.
    claimed: Mutex<HashSet<String>>,
    pub made_dead_letters: AtomicU64,
    pub kills: AtomicU64,
}

impl World {
    pub fn new(shared: Arc<Shared>) -> Self {
        let (made_dead_letters, kills) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { shared, claimed: Mutex::default(), made_dead_letters, kills }
    }

    fn claim(&self, process: &str) -> bool {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).insert(process.to_owned())
    }

    fn release(&self, process: &str) {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(process);
    }

    fn is_claimed(&self, process: &str) -> bool {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).contains(process)
    }

    fn begin(&self, fault: Fault, target: &str) {
        let (fault, target, forgets) = (fault.name().to_owned(), target.to_owned(), fault.forgets());
        self.shared.recorder.note(What::FaultStart { fault, target, forgets });
    }

    fn end(&self, fault: Fault, target: &str) {
        self.shared.recorder.note(What::FaultStop { fault: fault.name().to_owned(), target: target.to_owned() });
    }

    fn process(&self, pick: u64) -> &Process {
        let count = self.shared.stack.processes().count();
        self.shared.stack.processes().nth(usize::try_from(pick).unwrap_or(0) % count).unwrap()
    }

    /// Work that blocks: signals that are waited for, files that are copied.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&sealpost_testing::Stack) -> T + Send + 'static,
    ) -> T {
        let stack = Arc::clone(&self.shared.stack);
        match tokio::task::spawn_blocking(move || work(&stack)).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Carries out a schedule. Returns when its last fault is healed.
pub async fn run(world: Arc<World>, schedule: Schedule) {
    let start = tokio::time::Instant::now();
    let mut running = JoinSet::new();
    for plan in schedule.periods.into_iter().flat_map(|period| period.plans) {
        let world = Arc::clone(&world);
        running.spawn(async move {
            tokio::time::sleep_until(start + Duration::from_millis(plan.at_ms)).await;
            fault::perform(&world, plan).await;
        });
    }
    while let Some(done) = running.join_next().await {
        if let Err(error) = done {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Starts again what ended by itself, and writes it down. Runs until it is dropped.
pub async fn supervise(world: Arc<World>) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        for process in world.shared.stack.processes() {
            if world.is_claimed(process.name()) {
                continue;
            }
            if let Some(status) = process.take_ended() {
                let (process_name, status) = (process.name().to_owned(), status.to_string());
                world.shared.recorder.note(What::Died { process: process_name, status });
                process.start();
            }
        }
    }
}

impl World {
    fn killed(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
    }
}
