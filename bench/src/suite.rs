//! Starts everything, measures all scenarios on both stacks, and holds the figures to their targets.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use url::Url;

use crate::accounts::{self, ListLoad, ListReport, SignInLoad, SignInReport};
use crate::baseline::Baseline;
use crate::dm::{self, DmReport, Load};
use crate::history::{self, HistoryLoad, HistoryReport};
use crate::idle::{self, IdleReport};
use crate::population::Population;
use crate::processes::Watched;
use crate::raw::{self, RawReport};
use crate::report::{print, progress, write_json};
use crate::resume::{self, ResumeLoad, ResumeReport};
use crate::room::{self, RoomLoad, RoomReport};
use crate::search::{self, SearchLoad, SearchReport};
use crate::servers::{Cluster, Embedded, Program, Services};
use crate::start::{self, StartReport};
use crate::targets::{self, Check, Stack};

const BUSY: (usize, u64) = (50, 16);
const SINGLE: (usize, u64) = (1, 1);
const WIDE: (usize, u64) = (500, 1);
const IDLE_CONNECTIONS: usize = 2000;
const TEXT_BYTES: usize = 200;
const RAW_SECONDS: u64 = 3;
const MEMBERS: usize = 1000;
const AT_ONCE: usize = 16;

#[derive(Args, Clone, Debug)]
pub struct ProgramArguments {
    /// The server's program [default: the one beside this program]
    #[arg(long, env = "SEALPOST_BIN", value_name = "FILE")]
    sealpost: Option<PathBuf>,
    /// A setting for the servers, such as `SEALPOST__LOG__LEVEL=warn`; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    server_env: Vec<(String, String)>,
    /// Where the servers keep their data meanwhile; should be a real disk [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("want NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl ProgramArguments {
    pub fn program(self) -> anyhow::Result<Program> {
        let path = match self.sealpost {
            Some(path) => path,
            None => std::env::current_exe()?.with_file_name("sealpost"),
        };
        let missing = || {
            format!("no program at {}: build it with `cargo build --profile dist`, or use --sealpost", path.display())
        };
        let path = path.canonicalize().with_context(missing)?;
        let scratch = self.scratch.unwrap_or_else(std::env::temp_dir);
        Ok(Program { path, environment: self.server_env, scratch })
    }
}

#[derive(Args, Clone, Debug)]
pub struct SuiteArguments {
    #[command(flatten)]
    program: ProgramArguments,
    /// Only this stack
    #[arg(long, value_enum)]
    only: Option<Stack>,
    /// Seconds that each scenario is measured
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds of load before them
    #[arg(long, default_value_t = 2)]
    warmup: u64,
    /// An admin's URL of Postgres; the suite makes a database of its own there
    #[arg(long, env = "SEALPOST_TEST_POSTGRES", value_name = "URL")]
    postgres: Option<Url>,
    #[arg(long, env = "NATS_SERVER", default_value = ".tools/bin/nats-server", value_name = "FILE")]
    nats_server: PathBuf,
    #[arg(long, default_value = "nats.conf", value_name = "FILE")]
    nats_config: PathBuf,
    /// Messages of the long history. The index takes a minute for each 50,000, unless `SEALPOST__SEARCH__MESSAGES_PER_SECOND=0`
    #[arg(long, default_value_t = 50_000)]
    history_messages: usize,
    /// Messages that are searched
    #[arg(long, default_value_t = 30_000)]
    search_messages: usize,
    /// Where the figures go as JSON
    #[arg(long, default_value = "target/bench.json", value_name = "FILE")]
    json: PathBuf,
    /// Figures to compare with, from an earlier `--json`
    #[arg(long, default_value = "bench/last-release.json", value_name = "FILE")]
    baseline: PathBuf,
}

impl clap::ValueEnum for Stack {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Embedded, Self::Cluster]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self {
            Self::Embedded => "embedded",
            Self::Cluster => "cluster",
        }))
    }
}

/// What one stack did; a scenario that failed is missing, with its reason in `failures`.
#[derive(Default, Serialize)]
pub struct StackReport {
    /// 50 pairs, 16 in flight.
    pub busy: Option<DmReport>,
    /// One pair, one in flight.
    pub single: Option<DmReport>,
    /// 500 pairs, one in flight.
    pub wide: Option<DmReport>,
    pub idle: Option<IdleReport>,
    pub start: Option<StartReport>,
    pub raw: Option<RawReport>,
    pub conversations: Option<ListReport>,
    pub room: Option<RoomReport>,
    pub resume: Option<ResumeReport>,
    pub history: Option<HistoryReport>,
    pub search: Option<SearchReport>,
    pub sign_in: Option<SignInReport>,
    pub failures: Vec<String>,
}

#[derive(Default, Serialize)]
struct SuiteReport {
    version: &'static str,
    cores: usize,
    checks: Vec<Check>,
    embedded: Option<StackReport>,
    cluster: Option<StackReport>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every figure is within its target.
    Met,
    Missed,
    Interrupted,
}

impl Outcome {
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Met => ExitCode::SUCCESS,
            Self::Missed => ExitCode::FAILURE,
            Self::Interrupted => ExitCode::from(130),
        }
    }
}

pub async fn run(arguments: SuiteArguments) -> anyhow::Result<Outcome> {
    let program = arguments.program.clone().program()?;
    let baseline = Baseline::read(&arguments.baseline)?;
    let SuiteArguments { seconds, warmup, history_messages, search_messages, .. } = arguments;
    let suite = Suite { program, seconds, warmup, history_messages, search_messages };
    let (version, cores) = (env!("CARGO_PKG_VERSION"), std::thread::available_parallelism().map_or(0, usize::from));
    let mut report = SuiteReport { version, cores, ..SuiteReport::default() };
    if arguments.only != Some(Stack::Cluster) {
        let Some(embedded) = unless_stopped(suite.embedded()).await else { return Ok(Outcome::Interrupted) };
        report.checks.extend(targets::check(Stack::Embedded, &embedded));
        report.embedded = Some(embedded);
    }
    if arguments.only != Some(Stack::Embedded) {
        let Some(cluster) = Box::pin(suite.cluster(arguments.services())).await else {
            return Ok(Outcome::Interrupted);
        };
        report.checks.extend(targets::check(Stack::Cluster, &cluster));
        report.cluster = Some(cluster);
    }
    print(&format!("\n{}", targets::print(&report.checks, baseline.as_ref())));
    write_json(&arguments.json, &report)?;
    Ok(if report.checks.iter().all(|check| check.ok) { Outcome::Met } else { Outcome::Missed })
}

/// Dropping the work ends the servers that it started.
async fn unless_stopped<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = crate::asked_to_stop() => None,
    }
}

impl SuiteArguments {
    fn services(&self) -> anyhow::Result<Services> {
        let postgres = self.postgres.clone();
        let postgres = postgres.context("no Postgres: set SEALPOST_TEST_POSTGRES, or run tools/with-services")?;
        let file = |path: &Path| path.canonicalize().with_context(|| format!("no file at {}", path.display()));
        Ok(Services { nats_server: file(&self.nats_server)?, nats_config: file(&self.nats_config)?, postgres })
    }
}

struct Suite {
    program: Program,
    seconds: u64,
    warmup: u64,
    history_messages: usize,
    search_messages: usize,
}

impl StackReport {
    /// Keeps a result, or the reason why there is none.
    fn keep<T>(&mut self, scenario: &str, result: anyhow::Result<T>) -> Option<T> {
        result
            .map_err(|error| {
                progress(&format!("{scenario} failed: {error:#}"));
                self.failures.push(format!("{scenario}: {error:#}"));
            })
            .ok()
    }
}

impl Suite {
    async fn embedded(&self) -> StackReport {
        let mut report = StackReport::default();
        progress("embedded: clean start");
        let start = start::run(&self.program).await;
        report.start = report.keep("start", start).inspect(StartReport::print);
        let result = self.embedded_load(&mut report).await;
        report.keep("embedded", result);
        report
    }

    async fn embedded_load(&self, report: &mut StackReport) -> anyhow::Result<()> {
        let mut servers = Embedded::start(&self.program)?;
        let mut population = Population::new(servers.url()?)?;
        self.talk(report, &mut population, &servers.watched()).await?;
        servers.restart()?;
        population.move_to(servers.url()?);
        idle(report, &mut population, &servers.watched()).await;
        Ok(())
    }

    /// None if it was interrupted.
    async fn cluster(&self, services: anyhow::Result<Services>) -> Option<StackReport> {
        let mut report = StackReport::default();
        let Some(services) = report.keep("cluster", services) else { return Some(report) };
        // What only the cluster has targets for, on one of its own: after millions of messages the index is minutes behind.
        for is_first in [true, false] {
            progress("cluster: starting");
            let servers = Cluster::start(&self.program, &services).await;
            let Some(mut servers) = report.keep("cluster", servers) else { break };
            let work = async {
                if is_first {
                    self.cluster_load(&mut report, &mut servers).await
                } else {
                    self.cluster_rest(&mut report, &servers).await
                }
            };
            let result = unless_stopped(work).await;
            servers.dispose().await;
            report.keep("cluster", result?);
        }
        Some(report)
    }

    async fn cluster_load(&self, report: &mut StackReport, servers: &mut Cluster) -> anyhow::Result<()> {
        let mut population = Population::new(servers.url()?)?;
        self.talk(report, &mut population, &servers.watched()).await?;
        progress("raw JetStream");
        let raw = raw::run(&servers.nats_url(), RAW_SECONDS).await;
        report.raw = report.keep("raw", raw).inspect(RawReport::print);
        servers.restart_gateway()?;
        population.move_to(servers.url()?);
        idle(report, &mut population, &servers.watched()).await;
        Ok(())
    }

    /// Each with users of its own, who have the conversations that it makes and no others. Those that leave much to the index come last.
    async fn cluster_rest(&self, report: &mut StackReport, servers: &Cluster) -> anyhow::Result<()> {
        let (seconds, in_flight, text_bytes) = (self.seconds, AT_ONCE, TEXT_BYTES);
        let url = servers.url()?;
        let population = || Population::new(url.clone());

        progress("listing conversations");
        let load = ListLoad { seconds, conversations: 20, in_flight };
        let result = accounts::list(&mut population()?, load).await;
        report.conversations = report.keep("conversations", result).inspect(ListReport::print);

        progress("search");
        let load = SearchLoad { messages: self.search_messages, conversations: 10, seconds, in_flight: 1 };
        let result = search::run(&mut population()?, load).await;
        report.search = report.keep("search", result).inspect(SearchReport::print);

        progress("a long history");
        let load = HistoryLoad { messages: self.history_messages, page: 50, in_flight, seconds, text_bytes };
        let result = history::run(&mut population()?, load).await;
        report.history = report.keep("history", result).inspect(HistoryReport::print);

        progress("sign-in");
        let load = SignInLoad { samples: 2000, parallel: 200 };
        let result = accounts::sign_in(&mut population()?, load, &servers.watched()).await;
        report.sign_in = report.keep("sign-in", result).inspect(SignInReport::print);

        progress(&format!("a room of {MEMBERS}"));
        let mut members = population()?;
        let load = RoomLoad { members: MEMBERS, in_flight: 32, rate: 20, seconds, text_bytes };
        let result = room::run(&mut members, load).await;
        report.room = report.keep("room", result).inspect(RoomReport::print);

        progress(&format!("{MEMBERS} clients that come back"));
        let load = ResumeLoad { clients: MEMBERS, members: 10, missed: 100, text_bytes };
        let result = resume::run(&mut members, load).await;
        report.resume = report.keep("resume", result).inspect(ResumeReport::print);
        Ok(())
    }

    /// The three loads. Users are signed up before, so that Argon2 does not run meanwhile.
    async fn talk(
        &self,
        report: &mut StackReport,
        population: &mut Population,
        watched: &[Watched],
    ) -> anyhow::Result<()> {
        progress(&format!("signing up {} users", 2 * WIDE.0));
        population.grow_to(2 * WIDE.0).await?;
        for (slot, (pairs, in_flight)) in [BUSY, SINGLE, WIDE].into_iter().enumerate() {
            progress(&format!("{pairs} pairs x {in_flight}"));
            let load = Load {
                pairs,
                in_flight,
                seconds: self.seconds,
                warmup: self.warmup,
                patience: dm::PATIENCE_SECONDS,
                text_bytes: TEXT_BYTES,
            };
            let result = dm::run(population, load, watched).await;
            let result = report.keep(&format!("dm {pairs}x{in_flight}"), result).inspect(DmReport::print);
            *[&mut report.busy, &mut report.single, &mut report.wide][slot] = result;
        }
        Ok(())
    }
}

/// On processes that have not signed anybody up: memory that Argon2 gave back would hide what connections take.
async fn idle(report: &mut StackReport, population: &mut Population, watched: &[Watched]) {
    progress(&format!("{IDLE_CONNECTIONS} idle connections"));
    let result = idle::run(population, IDLE_CONNECTIONS, watched).await;
    report.idle = report.keep("idle", result).inspect(IdleReport::print);
}
