//! One run: a stack, clients, faults, healing, reading everything back, and the verdict.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sealpost_testing::{Form, Settings, Stack};
use tokio::task::JoinSet;

use crate::checker::{Verdict, check};
use crate::client::{Device, Shared, read_all};
use crate::directory::Directory;
use crate::history::{Answer, Entry, Number, Resources, Usage, What};
use crate::measure::{Measured, counts, search, usage};
use crate::nemesis::{self, Fault, Means, Schedule, Skipped, World};
use crate::recorder::Recorder;

const USERS: u32 = 6;
const DEVICES_OF_EACH: u32 = 2;
/// For outboxes to become empty after healing. A failing one is found by what is missing then.
const DRAIN: Duration = Duration::from_secs(45);
/// Until all devices work, and the servers have counted their tasks and subscriptions, which they do every 5 s.
const WARM_UP: Duration = Duration::from_secs(6);

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    pub seed: u64,
    pub form: Form,
    pub duration: Duration,
    pub faults: Vec<Fault>,
    /// NATS servers of a cluster: one, or three with as many copies of the log.
    pub brokers: usize,
    /// Operations a second, over all devices.
    pub rate: u32,
    /// Where history and report go.
    pub folder: PathBuf,
}

/// What came of it.
pub struct Outcome {
    pub request: Request,
    pub history: Vec<Entry>,
    pub verdict: Verdict,
    pub schedule: Schedule,
    pub skipped: Vec<Skipped>,
    pub kills: u64,
}

impl Outcome {
    /// Messages that were acknowledged as stored, each once.
    pub fn stored(&self) -> u64 {
        let stored = self.history.iter().filter_map(|entry| match &entry.what {
            What::Ok { op, answer: Answer::Sent { stored: true, .. } } => Some(*op),
            _ => None,
        });
        stored.collect::<HashSet<_>>().len() as u64
    }

    /// Where the whole history is.
    pub fn history_file(&self) -> PathBuf {
        self.request.history_file()
    }
}

impl Request {
    /// What its files are called.
    pub fn name(&self) -> String {
        let brokers = if self.brokers > 1 { format!("-{}-brokers", self.brokers) } else { String::new() };
        format!("{:?}{brokers}-{}", self.form, self.seed).to_lowercase()
    }

    fn history_file(&self) -> PathBuf {
        self.folder.join(format!("{}.history.jsonl", self.name()))
    }
}

/// Runs and judges. Panics where the harness itself cannot go on.
pub async fn run(request: Request) -> Outcome {
    std::fs::create_dir_all(&request.folder).unwrap();
    let name = request.name();
    let recorder = Recorder::create(&request.history_file()).unwrap();
    let settings = settings().brokers(request.brokers);
    let settings = if request.faults.contains(&Fault::F9) { settings.small_disk() } else { settings };
    let stack = Arc::new(Stack::start(request.form, settings).await);
    let means = Means {
        form: request.form,
        brokers: request.brokers,
        failpoints: has_failpoints(),
        small_disk: stack.disk().is_some(),
    };
    let (faults, skipped) = nemesis::available(means, &request.faults);
    let total_ms = u64::try_from(request.duration.as_millis()).unwrap_or(u64::MAX);
    let schedule = Schedule::make(request.seed, total_ms, request.form, &faults);
    let text = serde_json::to_string_pretty(&schedule).unwrap();
    std::fs::write(request.folder.join(format!("{name}.schedule.json")), text).unwrap();

    let directory = Directory::build(&stack, USERS, &recorder).await;
    let devices = USERS * DEVICES_OF_EACH;
    let shared = Arc::new(Shared {
        stack,
        directory,
        recorder,
        seed: request.seed,
        between: Duration::from_millis(u64::from(devices * 1000 / request.rate.max(1))),
        drain: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        duplicates: AtomicBool::new(false),
        next_connection: AtomicU32::new(1),
        waiting: AtomicU64::new(0),
    });
    let world = Arc::new(World::new(Arc::clone(&shared)));
    let supervisor = tokio::spawn(nemesis::supervise(Arc::clone(&world)));
    let mut clients = JoinSet::new();
    for device in 0..devices {
        clients.spawn(Device::new(Arc::clone(&shared), device, device % USERS).run());
    }
    tokio::time::sleep(WARM_UP).await;
    let before = usages(&shared).await;

    let end = Instant::now() + request.duration.saturating_sub(WARM_UP);
    nemesis::run(Arc::clone(&world), schedule.clone()).await;
    tokio::time::sleep(end.saturating_duration_since(Instant::now())).await;
    let healed = Instant::now();
    finish(&shared, &world, healed, &before).await;
    shared.stop.store(true, Ordering::Relaxed);
    while let Some(done) = clients.join_next().await {
        if let Err(error) = done {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    supervisor.abort();
    look_for_plaintext(&shared).await;
    let history = shared.recorder.take();
    let verdict = check(&history);
    let kills = world.kills.load(Ordering::Relaxed);
    if !verdict.holds() {
        keep_logs(&shared.stack, &request.folder.join(format!("{name}.logs")));
    }
    Outcome { request, history, verdict, schedule, skipped, kills }
}

/// Whether the program was built for tests: then it has their settings' names.
fn has_failpoints() -> bool {
    let program = std::fs::read(sealpost_testing::program()).unwrap();
    let name = b"SEALPOST_FAILPOINT";
    program.windows(name.len()).any(|window| window == name)
}

/// Short limits, so that much happens in little time.
fn settings() -> Settings {
    Settings::default()
        .own_postgres()
        .proxies()
        .set("SEALPOST__GATEWAY__HEARTBEAT_SECONDS", 2)
        .set("SEALPOST__GATEWAY__MAX_RESUME_EVENTS", 1_000_000)
        .set("SEALPOST__LANE__SEND_TIMEOUT_MS", 3000)
        .set("SEALPOST__LANE__ACK_TIMEOUT_MS", 1500)
        .set("SEALPOST__NATS__PUBLISH_TIMEOUT_MS", 1500)
        .set("SEALPOST__WORKERS__PERSISTENCE__ACK_WAIT_MS", 3000)
        .set("SEALPOST__WORKERS__DELIVERY__ACK_WAIT_MS", 3000)
        .set("SEALPOST__WORKERS__OUTBOX__GRACE_MS", 1000)
        .set("SEALPOST__WORKERS__OUTBOX__INTERVAL_MS", 500)
}

/// Everything is healed: outboxes become empty, workers finish, everybody catches up, and all of it is read back.
async fn finish(shared: &Arc<Shared>, world: &World, healed: Instant, before: &[(String, Usage)]) {
    shared.drain.store(true, Ordering::Relaxed);
    while shared.waiting.load(Ordering::Relaxed) > 0 && healed.elapsed() < DRAIN {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let expected = world.made_dead_letters.load(Ordering::Relaxed);
    let settled = Measured::settle(&shared.stack, healed, expected).await;
    shared.recorder.note(What::Settled(settled));
    // What is on its way to devices arrives, those that were cut off come back, and the servers count what they have anew.
    tokio::time::sleep(WARM_UP).await;
    // Before everything is read at once, which is no part of the load.
    note_resources(shared, before).await;
    let gateways = if shared.stack.form == Form::Cluster { 2 } else { 1 };
    for gateway in 0..gateways {
        // These together see every conversation.
        for user in [0, 2, USERS - 1] {
            let Some(all) = read_all(shared, user, gateway).await else { continue };
            for (conversation, events) in (0..).zip(all) {
                let gateway = Number::try_from(gateway).unwrap_or_default();
                if !events.is_empty() {
                    shared.recorder.note(What::Final { gateway, user, conversation, events });
                }
            }
        }
    }
    for device in 0..USERS * DEVICES_OF_EACH {
        shared.recorder.note(What::CaughtUp { device });
    }
}

async fn usages(shared: &Shared) -> Vec<(String, Usage)> {
    let processes = shared.stack.processes();
    let mut usages: Vec<_> =
        processes.filter_map(|process| Some((process.name().to_owned(), usage(process.id()?)?))).collect();
    usages.extend(counts(&shared.stack).await.map(|counts| ("all gateways".to_owned(), counts)));
    usages
}

async fn note_resources(shared: &Shared, before: &[(String, Usage)]) {
    for (process, after) in usages(shared).await {
        if let Some((_, before)) = before.iter().find(|(other, _)| *other == process) {
            shared.recorder.note(What::Resources(Resources { process, before: *before, after }));
        }
    }
}

async fn look_for_plaintext(shared: &Arc<Shared>) {
    let (stack, canary) = (Arc::clone(&shared.stack), shared.canary());
    let dump = if stack.form == Form::Cluster { stack.database().dump().await } else { String::new() };
    let (places, hits) = tokio::task::spawn_blocking(move || search(&stack, &canary, &dump)).await.unwrap();
    shared.recorder.note(What::Secrecy { places, hits });
}

fn keep_logs(stack: &Stack, folder: &Path) {
    let _ = std::fs::create_dir_all(folder);
    for entry in std::fs::read_dir(stack.folder()).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|end| end == "log") {
            let _ = std::fs::copy(entry.path(), folder.join(entry.file_name()));
        }
    }
}
