//! What a stack is made of, and where the programs are.

use std::path::{Path, PathBuf};

/// The two ways to run the same code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `sealpost serve`: one process.
    Embedded,
    /// Gateways and workers as processes of their own, with NATS and Postgres.
    Cluster,
}

/// Settings of a stack, beside those that it needs to run at all.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) own_postgres: bool,
    pub(crate) proxies: bool,
    pub(crate) brokers: usize,
    pub(crate) small_disk: bool,
}

impl Default for Settings {
    /// Short limits, so that what a limit does is seen soon.
    fn default() -> Self {
        let settings =
            Self { environment: Vec::new(), own_postgres: false, proxies: false, brokers: 1, small_disk: false };
        settings
            .set("RUST_LOG", "info")
            .set("SEALPOST__GATEWAY__AUTHENTICATE_SECONDS", 1)
            .set("SEALPOST__LANE__ACK_TIMEOUT_MS", 1000)
            // Clients of tests do not answer pings while they do something else.
            .set("SEALPOST__GATEWAY__HEARTBEAT_SECONDS", 20)
            // All users of the suites share one address.
            .set("SEALPOST__LIMITS__SIGN_INS_PER_MINUTE", 0)
            .set("SEALPOST__LIMITS__FREE_FAILURES", 1000)
            // And each sends as fast as it can.
            .set("SEALPOST__LIMITS__WRITES_PER_SECOND", 20_000)
            .set("SEALPOST__LIMITS__SIGNALS_PER_SECOND", 20_000)
            // Two clusters at once have ten pools in one Postgres.
            .set("SEALPOST__DATABASE__MAX_CONNECTIONS", 8)
    }
}

impl Settings {
    /// An environment variable of all processes.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Puts a [`Proxy`](crate::Proxy) before each gateway, and between each process and NATS and Postgres.
    #[must_use]
    pub fn proxies(mut self) -> Self {
        self.proxies = true;
        self
    }

    /// So many NATS servers in one cluster, with as many copies of the event log. Processes go to them past their proxies.
    #[must_use]
    pub fn brokers(mut self, count: usize) -> Self {
        self.brokers = count;
        self
    }

    /// The disk of the store, and of the embedded log, is one that can be filled: see [`Disk`](crate::Disk). Needs `own_postgres`, and
    /// where that cannot be had the disk is the machine's.
    #[must_use]
    pub fn small_disk(mut self) -> Self {
        self.small_disk = true;
        self
    }

    /// For tests that stop Postgres or look into its files.
    #[must_use]
    pub fn own_postgres(mut self) -> Self {
        self.own_postgres = true;
        self
    }
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The program under test: `SEALPOST_BIN`, or beside the test's own binary.
pub fn program() -> PathBuf {
    let path = std::env::var_os("SEALPOST_BIN").map_or_else(beside_this, PathBuf::from);
    let path = path.canonicalize().unwrap_or(path);
    assert!(path.exists(), "{} is not there: run `cargo build -p sealpost` first, or set SEALPOST_BIN", path.display());
    path
}

/// Of `target/<profile>/deps/<test>`, or `target/<profile>/<program>`.
fn beside_this() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let mut beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("sealpost"));
    beside.clone().find(|path| path.is_file()).unwrap_or_else(|| beside.next().unwrap())
}

pub(crate) fn nats_server() -> PathBuf {
    let path = std::env::var_os("NATS_SERVER").map_or_else(|| root().join(".tools/bin/nats-server"), PathBuf::from);
    assert!(path.exists(), "{} is not there: run the tests with tools/with-services", path.display());
    path
}
