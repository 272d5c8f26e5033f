//! The workers of this process: started together, stopped together, and missed when one ends by itself.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stop::Stop;

pub(crate) struct Workers {
    /// Told to the workers. Later than the process's soft stop, which is the gateway's turn.
    pub stop: CancellationToken,
    tasks: TaskTracker,
    process: Stop,
    failed: Arc<AtomicBool>,
}

impl Workers {
    pub fn new(process: &Stop) -> Self {
        Self {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            process: process.clone(),
            failed: Arc::default(),
        }
    }

    /// A worker that ends before it was told to stops the process: a supervisor starts it again, and nothing is lost.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let (stop, process, failed) = (self.stop.clone(), self.process.clone(), Arc::clone(&self.failed));
        let work = self.tasks.spawn(work);
        let abort = work.abort_handle();
        self.tasks.spawn(async move {
            let ended = tokio::select! {
                ended = work => ended,
                () = process.hard.cancelled() => return abort.abort(),
            };
            if ended.is_err() || !stop.is_cancelled() {
                tracing::error!(worker = name, "a worker ended by itself; stopping");
                failed.store(true, Ordering::Relaxed);
                process.begin();
            }
        });
    }

    /// Lets them finish what they hold. Bounded by the hard stop.
    pub async fn finish(&self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = self.process.hard.cancelled() => {
                // Aborted tasks end at their next await.
                let _ = tokio::time::timeout(super::HARD_LIMIT, self.tasks.wait()).await;
            }
        }
    }

    pub fn exit_code(&self, clean: bool) -> ExitCode {
        if clean && !self.failed.load(Ordering::Relaxed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn process() -> Stop {
        Stop { soft: CancellationToken::new(), hard: CancellationToken::new() }
    }

    #[tokio::test]
    async fn workers_finish_what_they_hold_after_the_gateway_and_before_the_hard_stop() {
        let process = process();
        let workers = Workers::new(&process);
        let (told, done) = (workers.stop.clone(), Arc::new(AtomicBool::new(false)));
        let finished = Arc::clone(&done);
        workers.spawn("batch", async move {
            told.cancelled().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            finished.store(true, Ordering::Relaxed);
        });
        process.begin();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!workers.stop.is_cancelled(), "the soft stop is the gateway's turn");
        workers.finish().await;
        assert!(done.load(Ordering::Relaxed));
        assert_eq!(workers.exit_code(true), ExitCode::SUCCESS);
    }

    #[tokio::test]
    async fn a_worker_that_does_not_listen_is_cut_off_by_the_hard_stop() {
        let process = process();
        let workers = Workers::new(&process);
        workers.spawn("deaf", std::future::pending());
        process.begin();
        let hard = process.hard.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            hard.cancel();
        });
        tokio::time::timeout(Duration::from_secs(2), workers.finish()).await.unwrap();
        assert_eq!(workers.exit_code(true), ExitCode::SUCCESS);
    }

    #[tokio::test]
    async fn a_worker_that_ends_by_itself_stops_the_process_with_a_failure() {
        let process = process();
        let workers = Workers::new(&process);
        workers.spawn("short", async {});
        tokio::time::timeout(Duration::from_secs(2), process.soft.cancelled()).await.unwrap();
        workers.finish().await;
        assert_eq!(workers.exit_code(true), ExitCode::FAILURE);
    }
}
