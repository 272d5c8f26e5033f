//! The two ways to run Sealpost, started for measuring on free ports with data of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use url::Url;

use crate::child::{Server, free_port, output_of};
use crate::population;
use crate::processes::{self, Watched};

/// How to start Sealpost.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    /// Settings beside those that the stack needs.
    pub environment: Vec<(String, String)>,
    /// Where data go.
    pub scratch: PathBuf,
}

impl Program {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn folder(&self) -> anyhow::Result<TempDir> {
        std::fs::create_dir_all(&self.scratch)?;
        Ok(tempfile::Builder::new().prefix("sealpost-bench.").tempdir_in(&self.scratch)?)
    }
}

fn url(port: u16) -> anyhow::Result<Url> {
    Ok(Url::parse(&format!("http://127.0.0.1:{port}"))?)
}

fn listen(command: &mut Command, port: u16) {
    command.env("SEALPOST__GATEWAY__LISTEN", format!("127.0.0.1:{port}"));
    // All of the load comes from one address.
    command.env("SEALPOST__GATEWAY__MAX_CONNECTIONS_PER_ADDRESS", "1000000");
    // One account after the other is tried with wrong passwords.
    command.env("SEALPOST__LIMITS__FREE_FAILURES", "100000");
    for rate in ["READS_PER_SECOND", "WRITES_PER_SECOND", "SIGNALS_PER_SECOND", "SIGN_INS_PER_MINUTE"] {
        command.env(format!("SEALPOST__LIMITS__{rate}"), "0");
    }
}

/// Everything in one process. Fields are dropped in this order: the server ends before its folder goes.
pub struct Embedded {
    server: Option<Server>,
    port: u16,
    program: Program,
    folder: TempDir,
}

impl Embedded {
    pub fn start(program: &Program) -> anyhow::Result<Self> {
        let mut this = Self { server: None, port: 0, program: program.clone(), folder: program.folder()? };
        this.restart()?;
        Ok(this)
    }

    /// A new process on the same data.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.server = None;
        let mut server = self.spawn()?;
        server.wait_for(self.port, Some("/readyz"))?;
        self.server = Some(server);
        Ok(())
    }

    /// From starting the process, on an empty folder, to the first 200 of `/healthz`.
    pub fn time_to_start(program: &Program) -> anyhow::Result<Duration> {
        let mut this = Self { server: None, port: 0, program: program.clone(), folder: program.folder()? };
        let start = Instant::now();
        let mut server = this.spawn()?;
        Ok(server.wait_for(this.port, Some("/healthz"))?.duration_since(start))
    }

    fn spawn(&mut self) -> anyhow::Result<Server> {
        self.port = free_port()?;
        let mut command = self.program.command(&["serve"]);
        command.env("SEALPOST__DATA_DIR", self.folder.path().join("data"));
        listen(&mut command, self.port);
        Server::spawn("sealpost", command, self.folder.path())
    }

    pub fn url(&self) -> anyhow::Result<Url> {
        url(self.port)
    }

    pub fn watched(&self) -> Vec<Watched> {
        self.server.iter().map(Server::watched).collect()
    }
}

/// A gateway and a worker of each kind on NATS and Postgres.
pub struct Cluster {
    gateway: Option<Server>,
    workers: Vec<Server>,
    port: u16,
    nats: Server,
    nats_port: u16,
    /// `FERNET_KEYS` and `SIGNING_KEY`.
    keys: Vec<(String, String)>,
    database: Database,
    program: Program,
    folder: TempDir,
}

/// What the cluster needs beside the program.
#[derive(Clone, Debug)]
pub struct Services {
    pub nats_server: PathBuf,
    pub nats_config: PathBuf,
    pub postgres: Url,
}

impl Cluster {
    pub async fn start(program: &Program, services: &Services) -> anyhow::Result<Self> {
        let folder = program.folder()?;
        let (nats, nats_port) = start_nats(services, folder.path())?;
        let database = Database::create(&services.postgres).await?;
        let (gateway, workers) = (None, Vec::new());
        let program = program.clone();
        let mut this = Self { gateway, workers, port: 0, nats, nats_port, keys: Vec::new(), database, program, folder };
        if let Err(error) = this.start_sealpost() {
            this.dispose().await;
            return Err(error);
        }
        Ok(this)
    }

    fn start_sealpost(&mut self) -> anyhow::Result<()> {
        let keys = output_of(self.program.command(&["keys", "generate"]), self.folder.path())?;
        let pairs = keys.lines().filter_map(|line| line.split_once('='));
        self.keys = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        output_of(self.command(&["migrate"]), self.folder.path())?;
        for kind in ["persistence", "delivery", "outbox", "timers"] {
            self.workers.push(Server::spawn(kind, self.command(&["worker", kind]), self.folder.path())?);
        }
        self.restart_gateway()?;
        self.workers.iter_mut().try_for_each(Server::fail_if_ended)
    }

    /// A new gateway process; everything else goes on.
    pub fn restart_gateway(&mut self) -> anyhow::Result<()> {
        self.gateway = None;
        self.port = free_port()?;
        let mut command = self.command(&["gateway"]);
        command.envs(self.keys.iter().map(|(name, value)| (name, value)));
        listen(&mut command, self.port);
        let mut gateway = Server::spawn("gateway", command, self.folder.path())?;
        gateway.wait_for(self.port, Some("/readyz"))?;
        self.gateway = Some(gateway);
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program.command(arguments);
        command.env("DATABASE_URL", self.database.url.as_str()).env("NATS_URL", self.nats_url());
        command
    }

    pub fn nats_url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.nats_port)
    }

    pub fn url(&self) -> anyhow::Result<Url> {
        url(self.port)
    }

    pub fn watched(&self) -> Vec<Watched> {
        let own = self.gateway.iter().chain(&self.workers).chain([&self.nats]).map(Server::watched);
        let postgres = self.database.postmaster.map(|pid| Watched { name: "postgres".to_owned(), pid });
        own.chain(postgres).collect()
    }

    /// Ends all, and removes the database.
    pub async fn dispose(mut self) {
        self.gateway = None;
        self.workers.clear();
        self.database.remove().await;
    }
}

fn start_nats(services: &Services, folder: &Path) -> anyhow::Result<(Server, u16)> {
    let port = free_port()?;
    let mut command = Command::new(&services.nats_server);
    command.arg("-c").arg(&services.nats_config).args(["-p", &port.to_string()]);
    // The configuration puts it into a setting: the quotes allow for spaces.
    command.env("NATS_STORE_DIR", format!("\"{}\"", folder.join("nats").display()));
    let mut server = Server::spawn("nats-server", command, folder)?;
    server.wait_for(port, None)?;
    Ok((server, port))
}

struct Database {
    admin: Url,
    url: Url,
    name: String,
    /// None if Postgres runs where its processes cannot be seen.
    postmaster: Option<u32>,
}

impl Database {
    async fn create(admin: &Url) -> anyhow::Result<Self> {
        let name = format!("sealpost_bench_{}", population::mark());
        let mut connection = PgConnection::connect(admin.as_str()).await.context("cannot connect to Postgres")?;
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
        // The parent of a backend is the postmaster, if both are in this process namespace.
        let postmaster = u32::try_from(backend).ok().and_then(processes::parent_of).filter(|pid| *pid > 1);
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        let mut url = admin.clone();
        url.set_path(&name);
        Ok(Self { admin: admin.clone(), url, name, postmaster })
    }

    async fn remove(&self) {
        let Ok(mut connection) = PgConnection::connect(self.admin.as_str()).await else { return };
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        if let Err(error) = connection.execute(sqlx::AssertSqlSafe(drop)).await {
            crate::report::progress(&format!("the database {} stays: {error}", self.name));
        }
    }
}
