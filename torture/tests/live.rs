//! A short run of the harness on each stack, with processes killed. `make torture` is the long one.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use sealpost_testing::Form;
use sealpost_torture::{Fault, Request, report, run};

/// A seed of its own for every day would find more, and a failure could not be told from a change.
const SEED: u64 = 20_261_121;

async fn holds(form: Form) {
    let folder = tempfile::tempdir().unwrap();
    let faults = vec![Fault::F1, Fault::F2, Fault::F4, Fault::F14, Fault::F20, Fault::F23];
    let request = Request {
        seed: SEED,
        form,
        brokers: 1,
        duration: Duration::from_secs(20),
        faults,
        rate: 80,
        folder: folder.path().to_owned(),
    };
    let outcome = run(request).await;
    let text = report::write(&outcome).unwrap();
    if !outcome.verdict.holds() {
        let kept = folder.keep();
        panic!("{text}\nhistory and logs are in {}", kept.display());
    }
    eprintln!("{text}");
    assert!(outcome.kills > 0, "nothing was killed");
    assert!(outcome.verdict.checked["acks that said stored"] > 100, "hardly anything was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_holds_its_promises_while_its_processes_are_killed() {
    holds(Form::Cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_server_holds_its_promises_while_it_is_killed() {
    holds(Form::Embedded).await;
}
