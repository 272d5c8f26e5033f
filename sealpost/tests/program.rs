//! The program as a process: its output, its exit codes, its first start and its stop. What it serves is tested elsewhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// In `folder`, without the settings of whoever runs the tests.
fn sealpost(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealpost"));
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    sealpost(folder, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut process = serve(folder).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let api = lines.find_map(|line| line.unwrap().trim().strip_prefix("API   http://").map(str::to_owned));
        let Some(api) = api else {
            let mut errors = String::new();
            process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
            panic!("it did not start: {errors}");
        };
        Self { process, address: api.trim_end_matches("/api").to_owned() }
    }

    /// The exit code and the log.
    fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        let mut log = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.process.wait().unwrap().code(), log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only where a test fails is it still running.
        let _ = self.process.kill();
    }
}

fn serve(folder: &Path) -> Command {
    let mut command = sealpost(folder, &["serve"]);
    command.env("SEALPOST__GATEWAY__LISTEN", "127.0.0.1:0");
    command
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_first_start_makes_a_private_folder_and_a_signal_stops_it_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["TERM", "INT"] {
        let server = Server::start(folder.path());
        let url = format!("http://{}/healthz", server.address);
        assert!(run(folder.path(), &["healthcheck", "--url", &url]).status.success());
        let (code, log) = server.stop(signal);
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped"), "{log}");
        assert!(!run(folder.path(), &["healthcheck", "--url", &url]).status.success());
    }
    let data = folder.path().join("data");
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("keys.env")), 0o600);
    assert_eq!(mode(&data.join("sealpost.db")), 0o600);
    assert_eq!(mode(&data.join("log")), 0o700);
}

#[test]
fn a_second_server_on_the_same_data_is_refused_and_dead_letters_work_beside_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let second = serve(folder.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another process has the event log"), "{}", text(&second.stderr));
    let letters = run(folder.path(), &["dead-letters", "list"]);
    assert_eq!(text(&letters.stdout), "there are no dead letters\n", "{}", text(&letters.stderr));
    let unknown = run(folder.path(), &["dead-letters", "drop", "7"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("there is no dead letter 7"));
    assert_eq!(server.stop("TERM").0, Some(0));
}

#[test]
fn data_whose_keys_are_gone_are_not_served() {
    let folder = tempfile::tempdir().unwrap();
    Server::start(folder.path()).stop("TERM");
    let keys = folder.path().join("data/keys.env");
    fs::remove_file(&keys).unwrap();
    let refused = serve(folder.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("its keys are missing"), "{}", text(&refused.stderr));
    assert!(!keys.exists());
}

#[test]
fn generated_keys_are_three_lines_on_stdout_that_the_configuration_takes() {
    let folder = tempfile::tempdir().unwrap();
    let made = run(folder.path(), &["keys", "generate"]);
    let stdout = text(&made.stdout);
    let lines: Vec<_> = stdout.lines().map(|line| line.split_once('=').unwrap()).collect();
    assert_eq!(lines.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["FERNET_KEYS", "SIGNING_KEY", "WEBHOOK_KEY"]);
    assert!(text(&made.stderr).contains("Keep these"));
    let checked = sealpost(folder.path(), &["config", "check", "--for", "serve"]).envs(lines).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}

#[test]
fn mistakes_in_the_configuration_end_the_start_with_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let failed = sealpost(folder.path(), &["gateway"]).env("FERNET_KEYS", "abc").output().unwrap();
    assert_eq!(failed.status.code(), Some(2));
    let errors = text(&failed.stderr);
    for part in
        ["FERNET_KEYS: too short", "set DATABASE_URL", "set NATS_URL", "set SIGNING_KEY", "sealpost keys generate"]
    {
        assert!(errors.contains(part), "`{part}` is not in {errors}");
    }
    assert!(failed.stdout.is_empty());
}

#[test]
fn the_written_description_is_compared_by_check() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["openapi", "--out", "api"]).status.success());
    assert!(run(folder.path(), &["openapi", "--out", "api", "--check"]).status.success());
    fs::write(folder.path().join("api/websocket.json"), "{}\n").unwrap();
    let drifted = run(folder.path(), &["openapi", "--out", "api", "--check"]);
    assert_eq!(drifted.status.code(), Some(1));
    assert!(text(&drifted.stderr).contains("api/websocket.json differs from line 1 on"), "{}", text(&drifted.stderr));
}
