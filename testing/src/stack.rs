//! One whole Sealpost.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _, SqliteConnection};
use tempfile::TempDir;

use crate::database::Database;
use crate::disk::Disk;
use crate::port::free_port;
use crate::process::{Process, without_own_settings};
use crate::proxy::Proxy;
use crate::settings::{Form, Settings, nats_server, program, root};
use crate::wait::eventually;

const GATEWAYS: usize = 2;
const WORKERS: [&str; 7] =
    ["persistence-1", "persistence-2", "delivery-1", "delivery-2", "outbox-1", "timers-1", "timers-2"];

/// Fields are dropped in this order: the processes end before what they use goes.
pub struct Stack {
    pub form: Form,
    /// One if embedded (then it is everything), else two.
    gateways: Vec<Process>,
    ports: Vec<u16>,
    /// `persistence-1`, `delivery-1` and so on; none if embedded.
    workers: Vec<Process>,
    services: Option<Services>,
    /// By process; none without [`Settings::proxies`].
    links: BTreeMap<String, Links>,
    /// Before the gateways.
    fronts: Vec<Proxy>,
    environment: Vec<(String, String)>,
    /// Under the data of the embedded stack.
    disk: Option<Disk>,
    folder: TempDir,
}

/// The ways of one process to its services.
pub struct Links {
    pub nats: Proxy,
    pub postgres: Proxy,
}

struct Services {
    nats: Vec<Process>,
    nats_ports: Vec<u16>,
    database: Database,
}

/// A stack in the hands of a test: prints the logs if the test fails, or if `SEALPOST_TEST_LOGS` is set.
pub struct Running(pub(crate) Arc<Stack>);

impl Stack {
    /// Starts it and waits until it is ready.
    pub async fn start(form: Form, settings: Settings) -> Running {
        // A port may be taken between being found free and being used.
        for _ in 0..3 {
            let running = Running(Arc::new(Self::prepare(form, &settings).await));
            running.launch();
            if running.is_ready_or_has_ended().await {
                return running;
            }
        }
        panic!("every port was taken")
    }

    async fn prepare(form: Form, settings: &Settings) -> Self {
        let folder = tempfile::Builder::new().prefix("sealpost-test.").tempdir().unwrap();
        let mut environment = settings.environment.clone();
        let mut services = None;
        let mut disk = None;
        match form {
            Form::Embedded => {
                let data = folder.path().join("data");
                if settings.small_disk {
                    disk = Disk::mount(&data);
                }
                environment.push(("SEALPOST__DATA_DIR".to_owned(), data.display().to_string()));
            }
            Form::Cluster => {
                let database = Database::create(settings.own_postgres, settings.small_disk).await;
                let (nats, nats_ports) = start_brokers(folder.path(), settings.brokers).await;
                environment.push(("DATABASE_URL".to_owned(), database.url()));
                environment.push(("NATS_URL".to_owned(), urls_of(&nats_ports).join(",")));
                environment.push(("SEALPOST__NATS__REPLICAS".to_owned(), nats.len().to_string()));
                services = Some(Services { nats, nats_ports, database });
            }
        }
        let mut links = BTreeMap::new();
        if let Some(services) = services.as_ref().filter(|_| settings.proxies) {
            let gateways = (1..=GATEWAYS).map(|number| format!("gateway-{number}"));
            for name in gateways.chain(WORKERS.map(str::to_owned)) {
                let nats = Proxy::start(services.nats_ports[0]).await;
                links.insert(name, Links { nats, postgres: Proxy::start(services.database.port()).await });
            }
        }
        let mut this = Self {
            form,
            gateways: Vec::new(),
            ports: Vec::new(),
            workers: Vec::new(),
            services,
            links,
            fronts: Vec::new(),
            environment,
            disk,
            folder,
        };
        this.make_processes();
        if settings.proxies {
            for &port in &this.ports {
                this.fronts.push(Proxy::start(port).await);
            }
        }
        this
    }

    fn make_processes(&mut self) {
        let (command, count) = match self.form {
            Form::Embedded => ("serve", 1),
            Form::Cluster => ("gateway", GATEWAYS),
        };
        let mut with_keys = self.environment.clone();
        if self.form == Form::Cluster {
            let keys = self.run(&["keys", "generate"]);
            let lines = keys.lines().filter_map(|line| line.split_once('='));
            let keys: Vec<_> = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let webhook_key: Vec<_> = keys.iter().filter(|(name, _)| name == "WEBHOOK_KEY").cloned().collect();
            with_keys.extend(keys);
            self.run(&["migrate"]);
            for name in WORKERS {
                let kind = name.split('-').next().unwrap();
                let mut environment = self.linked(name, &self.environment);
                if kind == "delivery" {
                    environment.extend(webhook_key.clone());
                }
                let process = Process::new(name, &program(), &["worker", kind], &environment, self.folder.path());
                self.workers.push(process);
            }
        }
        for number in 1..=count {
            let port = free_port();
            let name = format!("{command}-{number}");
            let mut environment = self.linked(&name, &with_keys);
            environment.push(("SEALPOST__GATEWAY__LISTEN".to_owned(), format!("127.0.0.1:{port}")));
            self.gateways.push(Process::new(&name, &program(), &[command], &environment, self.folder.path()));
            self.ports.push(port);
        }
    }

    /// The environment of a process that goes through its own proxies, if there are any.
    fn linked(&self, name: &str, environment: &[(String, String)]) -> Vec<(String, String)> {
        let mut environment = environment.to_vec();
        environment.push(("SEALPOST_CLOCK_FILE".to_owned(), self.clock_of(name).display().to_string()));
        if let Some(links) = self.links.get(name) {
            for (variable, value) in &mut environment {
                let (own, other) = match variable.as_str() {
                    "NATS_URL" if self.services().nats_ports.len() == 1 => {
                        (self.services().nats_ports[0], links.nats.port())
                    }
                    "DATABASE_URL" => (self.services().database.port(), links.postgres.port()),
                    _ => continue,
                };
                *value = value.replace(&format!(":{own}"), &format!(":{other}"));
            }
        }
        environment
    }

    /// Starts all processes of Sealpost itself.
    pub fn launch(&self) {
        self.processes().for_each(Process::start);
    }

    async fn is_ready_or_has_ended(&self) -> bool {
        for gateway in 0..self.gateways.len() {
            let process = &self.gateways[gateway];
            let ready = eventually("a gateway that is ready", async || {
                if let Some(status) = process.ended() {
                    let log = process.log_text();
                    assert!(log.contains("cannot listen on"), "{} ended with {status}:\n{log}", process.name());
                    return Some(false);
                }
                self.is_ready(gateway).await.then_some(true)
            });
            if !ready.await {
                return false;
            }
        }
        true
    }

    /// Waits until all gateways are ready.
    pub async fn ready(&self) {
        assert!(self.is_ready_or_has_ended().await, "a gateway ended");
    }

    pub async fn is_ready(&self, gateway: usize) -> bool {
        let client = reqwest::Client::new();
        let answer = client.get(format!("{}/readyz", self.url(gateway))).timeout(crate::PATIENCE).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// `http://127.0.0.1:<port>`; the number wraps around, so that a case for two gateways also runs on one.
    pub fn url(&self, gateway: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[gateway % self.ports.len()])
    }

    /// The same through the gateway's proxy, if there is one.
    pub fn front_url(&self, gateway: usize) -> String {
        let front = self.fronts.get(gateway % self.ports.len());
        front.map_or_else(|| self.url(gateway), |front| format!("http://127.0.0.1:{}", front.port()))
    }

    /// The proxies before the gateways.
    pub fn fronts(&self) -> &[Proxy] {
        &self.fronts
    }

    /// The ways of a process to its services.
    pub fn links(&self, process: &str) -> Option<&Links> {
        self.links.get(process)
    }

    pub fn nats_url(&self) -> String {
        self.nats_urls().swap_remove(0)
    }

    /// Of all brokers.
    pub fn nats_urls(&self) -> Vec<String> {
        urls_of(&self.services().nats_ports)
    }

    /// Gateways and workers.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.workers.iter().chain(&self.gateways)
    }

    pub fn process(&self, name: &str) -> &Process {
        self.processes().find(|process| process.name() == name).unwrap_or_else(|| panic!("no process {name}"))
    }

    /// Gateways and workers whose names start so.
    pub fn processes_named(&self, start: &str) -> impl Iterator<Item = &Process> {
        self.processes().filter(move |process| process.name().starts_with(start))
    }

    pub fn nats(&self) -> &Process {
        &self.services().nats[0]
    }

    /// `nats-1` to `nats-3`, of a cluster of brokers; else `nats`.
    pub fn brokers(&self) -> &[Process] {
        &self.services().nats
    }

    /// The disk under the store, if it can be filled.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref().or_else(|| self.services.as_ref()?.database.disk())
    }

    /// Steps the clock of a process, from what it is in truth.
    pub fn step_clock(&self, process: &str, millis: i64) {
        std::fs::write(self.clock_of(process), millis.to_string()).unwrap();
    }

    fn clock_of(&self, process: &str) -> std::path::PathBuf {
        self.folder().join(format!("{process}.clock"))
    }

    /// A copy of the broker's files as they are now.
    pub fn copy_broker(&self) -> TempDir {
        let copy = tempfile::Builder::new().prefix("older.").tempdir_in(self.folder()).unwrap();
        // Nothing moves while it is being copied.
        self.nats().freeze();
        copy_folder(&self.folder().join("nats"), &copy.path().join("nats"));
        self.nats().thaw();
        copy
    }

    /// Puts a copy in place of the broker's files; it must not run.
    pub fn bring_back_broker(&self, older: TempDir) {
        let store = self.folder().join("nats");
        std::fs::remove_dir_all(&store).unwrap();
        std::fs::rename(older.path().join("nats"), &store).unwrap();
        drop(older);
    }

    pub fn database(&self) -> &Database {
        &self.services().database
    }

    /// Data of the embedded stack, store of NATS, and the logs of all.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a statement on the database, beside the servers; how many rows it changed, or what the database says.
    pub async fn execute(&self, sql: &str) -> Result<u64, String> {
        let sql = AssertSqlSafe(sql.to_owned());
        let done = match self.form {
            Form::Embedded => {
                let path = self.folder.path().join("data/sealpost.db");
                let options = SqliteConnectOptions::new().filename(path).busy_timeout(crate::PATIENCE);
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                connection.execute(sql).await.map(|done| done.rows_affected())
            }
            Form::Cluster => self.database().connect().await.execute(sql).await.map(|done| done.rows_affected()),
        };
        done.map_err(|error| error.to_string())
    }

    /// How many rows a `SELECT count(*)` counts.
    pub async fn count(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.form {
            Form::Embedded => {
                let path = self.folder.path().join("data/sealpost.db");
                let options = SqliteConnectOptions::new().filename(path).busy_timeout(crate::PATIENCE);
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                connection.fetch_one(sql).await.unwrap().get(0)
            }
            Form::Cluster => self.database().connect().await.fetch_one(sql).await.unwrap().get(0),
        }
    }

    /// An id as a literal of the stack's database.
    pub fn id(&self, id: &str) -> String {
        match self.form {
            Form::Embedded => format!("x'{}'", id.replace('-', "")),
            Form::Cluster => format!("'{id}'"),
        }
    }

    fn services(&self) -> &Services {
        self.services.as_ref().expect("only a cluster has services")
    }

    /// The key that signs access tokens.
    pub fn signing_key(&self) -> String {
        let file = std::fs::read_to_string(self.folder.path().join("data/keys.env")).unwrap_or_default();
        let in_file = file.lines().find_map(|line| line.strip_prefix("SIGNING_KEY=")).map(str::to_owned);
        in_file.or_else(|| self.gateways[0].setting("SIGNING_KEY")).expect("a key that signs")
    }

    /// Runs a command of the program on this stack's data, with the keys of its gateways.
    fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program());
        without_own_settings(&mut command);
        command.args(arguments).current_dir(self.folder.path());
        let setting = |name: &str| self.gateways.first().and_then(|gateway| gateway.setting(name));
        let keys = ["FERNET_KEYS", "SIGNING_KEY"].map(|name| (name, setting(name)));
        command.envs(keys.into_iter().filter_map(|(name, value)| Some((name, value?))));
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).output().unwrap()
    }

    /// A command that has to fail; what it says.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments);
        assert!(!done.status.success(), "sealpost {} did not fail", arguments.join(" "));
        String::from_utf8(done.stderr).unwrap()
    }

    /// A command that has to succeed; its output.
    pub fn run(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments);
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "sealpost {} ended with {}: {errors}", arguments.join(" "), done.status);
        String::from_utf8(done.stdout).unwrap()
    }

    /// Waits until the workers are done with the log, and fails if they put anything aside.
    pub async fn settle(&self) {
        if let Some(services) = &self.services {
            let url = urls_of(&services.nats_ports).swap_remove(0);
            let streams = async_nats::jetstream::new(async_nats::connect(url).await.unwrap());
            for name in ["persistence", "delivery"] {
                eventually(&format!("the {name} workers to be done with the log"), async || {
                    let stream = streams.get_stream("CHAT").await.ok()?;
                    let consumer = stream.consumer_info(name).await.ok()?;
                    (consumer.num_pending == 0 && consumer.num_ack_pending == 0).then_some(())
                })
                .await;
            }
            let dead = streams.get_stream("DEAD").await.unwrap().get_info().await.unwrap();
            assert_eq!(dead.state.messages, 0, "{}", self.run(&["dead-letters", "list"]));
        } else {
            // Messages are answered when they are stored; changes of conversations when they have their numbers, and until they are stored
            // there is a row.
            eventually("changes of conversations to be stored", async || {
                (self.count("SELECT count(*) FROM outbox").await == 0).then_some(())
            })
            .await;
        }
        assert_eq!(self.run(&["dead-letters", "list"]).trim(), "there are no dead letters");
    }

    fn print_logs(&self) {
        self.processes().for_each(Process::print_log);
        if let Some(services) = &self.services {
            services.nats.iter().for_each(Process::print_log);
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn urls_of(ports: &[u16]) -> Vec<String> {
    ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect()
}

/// One, or a cluster.
async fn start_brokers(folder: &Path, count: usize) -> (Vec<Process>, Vec<u16>) {
    if count == 1 {
        let (nats, port) = start_nats(folder, "nats", &[]).await;
        return (vec![nats], vec![port]);
    }
    let routes: Vec<String> = (0..count).map(|_| format!("nats://127.0.0.1:{}", free_port())).collect();
    let (mut brokers, mut ports) = (Vec::new(), Vec::new());
    for (number, own) in (1..).zip(&routes) {
        let name = format!("nats-{number}");
        let all = routes.join(",");
        let cluster = ["--name", &name, "--cluster_name", "test", "--cluster", own, "--routes", &all];
        let (nats, port) = start_nats(folder, &name, &cluster).await;
        brokers.push(nats);
        ports.push(port);
    }
    (brokers, ports)
}

async fn start_nats(folder: &Path, name: &str, more: &[&str]) -> (Process, u16) {
    let config = root().join("nats.conf");
    // The configuration puts it into a setting: the quotes allow for spaces.
    let store = ("NATS_STORE_DIR".to_owned(), format!("\"{}\"", folder.join(name).display()));
    for _ in 0..5 {
        let port = free_port();
        let port_text = port.to_string();
        let mut arguments = vec!["-c", config.to_str().unwrap(), "-a", "127.0.0.1", "-p", &port_text];
        arguments.extend(more);
        let nats = Process::new(name, &nats_server(), &arguments, std::slice::from_ref(&store), folder);
        nats.start();
        let up = eventually("NATS", async || {
            if nats.ended().is_some() {
                return Some(false);
            }
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok().then_some(true)
        });
        if up.await {
            return (nats, port);
        }
    }
    let log = std::fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
    panic!("NATS does not start: {log}");
}

impl Deref for Running {
    type Target = Stack;
    fn deref(&self) -> &Stack {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("SEALPOST_TEST_LOGS").is_some() {
            self.0.print_logs();
        }
    }
}
