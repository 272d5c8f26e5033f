//! A short soak on each stack. `make soak` is the long one.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use sealpost_testing::Form;
use sealpost_torture::{Soak, soak};

async fn ends_as_the_history(form: Form) {
    let report = soak(Soak { form, clients: 30, duration: Duration::from_secs(20), seed: 20_261_121 }).await;
    eprintln!("{report}");
    assert!(report.wrong.is_empty(), "{report}");
    let count = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
    // On a busy machine there is less of everything, but not nothing.
    assert!(count(&report.counts.sent) > 50 && count(&report.counts.changes) > 10, "{report}");
    assert!(count(&report.counts.connections) > 30 && count(&report.counts.left) > 0, "{report}");
    assert_eq!(report.compared, 30 * 2 * 2, "a client saw nothing of one of its conversations");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_cluster_that_come_and_go_end_with_what_the_history_shows() {
    ends_as_the_history(Form::Cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_an_embedded_server_that_come_and_go_end_with_what_the_history_shows() {
    ends_as_the_history(Form::Embedded).await;
}
