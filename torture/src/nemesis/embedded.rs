//! F23: what happens to the one process that is everything, and to its event log's files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::{Fault, Plan, World};

const PROCESS: &str = "serve-1";

/// A kill and nothing else, a log set back to what it was seconds ago, or one whose last bytes are torn off.
pub async fn damage(world: &World, plan: Plan) {
    if !world.claim(PROCESS) {
        return;
    }
    let wait = Duration::from_millis(plan.for_ms.min(1000 + plan.pick % 3000));
    match plan.pick % 3 {
        0 => {
            sleep(wait).await;
            world.begin(Fault::F23, "killed");
            world.killed();
            world.blocking(|stack| stack.process(PROCESS).kill_and_start()).await;
            world.end(Fault::F23, "killed");
        }
        1 => {
            let older = world.blocking(copy_log).await;
            sleep(wait).await;
            world.begin(Fault::F23, "set back");
            world.killed();
            world
                .blocking(move |stack| {
                    stack.process(PROCESS).kill();
                    let log = log_of(stack);
                    std::fs::remove_dir_all(&log).unwrap();
                    std::fs::rename(&older, &log).unwrap();
                    stack.process(PROCESS).start();
                })
                .await;
            world.end(Fault::F23, "set back");
        }
        _ => {
            sleep(wait).await;
            world.begin(Fault::F23, "torn");
            world.killed();
            let bytes = 1 + plan.pick % 3000;
            world
                .blocking(move |stack| {
                    stack.process(PROCESS).kill();
                    tear(&log_of(stack), bytes);
                    stack.process(PROCESS).start();
                })
                .await;
            world.end(Fault::F23, "torn");
        }
    }
    world.release(PROCESS);
}

/// F21: one bit of the log's newest file is another when the server comes back.
pub async fn flip_a_bit(world: &World, plan: Plan) {
    if !world.claim(PROCESS) {
        return;
    }
    sleep(Duration::from_millis(plan.for_ms / 2)).await;
    world.begin(Fault::F21, "log");
    world.killed();
    world
        .blocking(move |stack| {
            stack.process(PROCESS).kill();
            for entry in std::fs::read_dir(log_of(stack)).unwrap() {
                let path = entry.unwrap().path();
                if path.to_string_lossy().ends_with("-wal") {
                    super::broker::flip(&path, plan.pick);
                }
            }
            stack.process(PROCESS).start();
        })
        .await;
    world.end(Fault::F21, "log");
    world.release(PROCESS);
}

fn log_of(stack: &sealpost_testing::Stack) -> PathBuf {
    stack.folder().join("data/log")
}

/// Nothing moves while it is being copied. Beside the log, which may have a disk of its own.
fn copy_log(stack: &sealpost_testing::Stack) -> PathBuf {
    let copy = stack.folder().join("data/older-log");
    let _ = std::fs::remove_dir_all(&copy);
    std::fs::create_dir_all(&copy).unwrap();
    stack.process(PROCESS).freeze();
    for entry in std::fs::read_dir(log_of(stack)).unwrap() {
        let entry = entry.unwrap();
        // The index of the write-ahead log is made anew from it.
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    stack.process(PROCESS).thaw();
    copy
}

/// Takes the last bytes of the write-ahead log away, as a write that did not get through.
fn tear(log: &Path, bytes: u64) {
    for entry in std::fs::read_dir(log).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with("-wal") {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(length.saturating_sub(bytes)).unwrap();
        }
    }
}
