//! A database of its own: in the Postgres of the tests, or in a Postgres of its own.

use std::path::Path;
use std::process::Command;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tempfile::TempDir;

use crate::disk::Disk;
use crate::settings::root;
use crate::user::unique;

pub struct Database {
    name: String,
    /// URL of the server, with its maintenance database.
    server: String,
    /// Before its folder, which goes after it.
    disk: Option<Disk>,
    own: Option<TempDir>,
}

impl Database {
    /// `small_disk`: a server of its own is on a [`Disk`], if there can be one.
    pub async fn create(own_server: bool, small_disk: bool) -> Self {
        let own = own_server.then(|| {
            let folder = tempfile::Builder::new().prefix("sealpost-postgres.").tempdir().unwrap();
            // Postgres runs as another user if the tests run as root.
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(folder.path(), open).unwrap();
            folder
        });
        let disk = own.as_ref().filter(|_| small_disk).and_then(|folder| Disk::mount(folder.path()));
        let server = match &own {
            Some(folder) => postgres(&["start", folder.path().to_str().unwrap()]).trim().to_owned(),
            None => std::env::var("SEALPOST_TEST_POSTGRES")
                .expect("SEALPOST_TEST_POSTGRES is not set: run the tests with tools/with-services"),
        };
        let name = format!("sealpost_test_{}", unique("").to_lowercase());
        let this = Self { name, server, disk, own };
        let mut connection = PgConnection::connect(&this.server).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {}", this.name))).await.unwrap();
        this
    }

    pub fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    /// Folder of a Postgres of its own.
    pub fn folder(&self) -> &std::path::Path {
        self.own.as_ref().expect("this stack has no Postgres of its own").path()
    }

    /// The disk that it has for itself.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Starts it if it has given up by itself.
    pub fn start_if_ended(&self) {
        let running = std::fs::read_to_string(self.folder().join("data/postmaster.pid")).ok().and_then(|text| {
            let id = text.lines().next()?.to_owned();
            Path::new("/proc").join(id).exists().then_some(())
        });
        if running.is_none() {
            self.start();
        }
    }

    /// Stops a Postgres of its own; its connections end.
    pub fn stop(&self) {
        postgres(&["stop", self.folder().to_str().unwrap()]);
    }

    /// SIGQUIT, as an immediate shutdown or a crash: connections end, nothing is flushed. Returns when it is gone.
    pub fn crash(&self) {
        let file = self.folder().join("data/postmaster.pid");
        let text = std::fs::read_to_string(&file).expect("Postgres does not run");
        let id = text.lines().next().unwrap().to_owned();
        assert!(Command::new("kill").args(["-s", "QUIT", &id]).status().unwrap().success());
        let start = std::time::Instant::now();
        while Path::new("/proc").join(&id).exists() {
            assert!(start.elapsed() < crate::PATIENCE, "Postgres does not end");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Port of the server.
    pub fn port(&self) -> u16 {
        self.server.rsplit_once(':').unwrap().1.split('/').next().unwrap().parse().unwrap()
    }

    /// Starts it again on the same port.
    pub fn start(&self) {
        postgres(&["start", self.folder().to_str().unwrap(), &self.port().to_string()]);
    }

    /// Everything that is in the tables, as text.
    pub async fn dump(&self) -> String {
        let mut connection = self.connect().await;
        let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
        let tables = connection.fetch_all(tables).await.unwrap();
        assert!(!tables.is_empty());
        let mut dump = String::new();
        for table in tables {
            let table: String = table.get(0);
            let rows = format!("SELECT row_to_json(t)::text FROM \"{table}\" t");
            for row in connection.fetch_all(AssertSqlSafe(rows)).await.unwrap() {
                dump += row.get(0);
                dump.push('\n');
            }
        }
        // So that the files hold all of it, too.
        connection.execute("CHECKPOINT").await.unwrap();
        dump
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(folder) = &self.own {
            let _ = Command::new(root().join("tools/postgres")).arg("stop").arg(folder.path()).output();
            return;
        }
        let (server, drop) = (self.server.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&server).await?;
                connection.execute(AssertSqlSafe(drop)).await
            })
        });
        if !matches!(dropping.join(), Ok(Ok(_))) {
            eprintln!("the database {} could not be dropped", self.name);
        }
    }
}

fn postgres(arguments: &[&str]) -> String {
    let done = Command::new(root().join("tools/postgres")).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "tools/postgres {}: {errors}", arguments.join(" "));
    String::from_utf8(done.stdout).unwrap()
}
