//! A child process that can be killed, frozen and started again, and that never outlives the test process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::wait::PATIENCE;

/// A program with its arguments and environment; running or not. Killed when dropped.
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// Not started yet. It runs in `folder`, where its log `<name>.log` is, too.
    pub fn new(
        name: &str,
        program: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
        folder: &Path,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_path_buf(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: environment.to_vec(),
            folder: folder.to_path_buf(),
            child: Mutex::new(None),
        }
    }

    /// A variable of its environment.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.environment.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it, with the same arguments as before; the log goes on.
    pub fn start(&self) {
        self.start_with(&[]);
    }

    /// The same, with other settings this once.
    pub fn start_with(&self, settings: &[(&str, &str)]) {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = bound_to_this_process(&self.program);
        command.args(&self.arguments).current_dir(&self.folder);
        without_own_settings(&mut command);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.envs(settings.iter().copied());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = self.child();
        assert!(child.is_none(), "{} runs already", self.name);
        *child = Some(spawn(command));
    }

    /// SIGKILL: no chance to finish anything.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn kill_and_start(&self) {
        self.kill();
        self.start();
    }

    /// Freezes it: it keeps its connections and does nothing.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Asks it to stop and waits until it has.
    pub fn terminate(&self) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_end()
    }

    /// Asks it to stop; does not wait.
    pub fn ask_to_stop(&self) {
        self.signal("TERM");
    }

    pub fn wait_for_end(&self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                self.child().take();
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How it ended, if it was started and has ended.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child().as_mut().and_then(|child| child.try_wait().unwrap())
    }

    /// Its process id, if it was started and not killed.
    pub fn id(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// Memory that it uses now, in KiB; 0 if it does not run.
    pub fn resident_kib(&self) -> u64 {
        let status = self.id().and_then(|id| std::fs::read_to_string(format!("/proc/{id}/status")).ok());
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    }

    /// If it has ended by itself: how. It can be started again then.
    pub fn take_ended(&self) -> Option<ExitStatus> {
        let mut child = self.child();
        let status = child.as_mut().and_then(|child| child.try_wait().unwrap())?;
        child.take();
        Some(status)
    }

    fn signal(&self, signal: &str) {
        let id = self.child().as_ref().expect("a signal for a process that does not run").id();
        let sent = Command::new("kill").args(["-s", signal, &id.to_string()]).status().unwrap();
        assert!(sent.success(), "SIG{signal} could not be sent to {}", self.name);
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log()).unwrap_or_default()).into_owned()
    }

    /// The most memory that it ever had, in KiB. Linux only; elsewhere none.
    pub fn peak_memory_kib(&self) -> Option<u64> {
        let id = self.child().as_ref().map(Child::id)?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// For the output of a failed test.
    pub fn print_log(&self) {
        let text = self.log_text();
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(40)..];
        eprintln!("--- log of {}, last {} of {} lines\n{}", self.name, tail.len(), lines.len(), tail.join("\n"));
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Settings of whoever runs the tests must not reach the servers.
pub fn without_own_settings(command: &mut Command) {
    let own = ["DATABASE_URL", "NATS_URL", "FERNET_KEYS", "SIGNING_KEY", "WEBHOOK_KEY", "RUST_LOG"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SEALPOST") || own.iter().any(|own| text.starts_with(own)) {
            command.env_remove(&name);
        }
    }
}

/// Linux ends a child together with its parent if asked to; `setpriv` asks. Elsewhere only `Drop` ends it.
fn bound_to_this_process(program: &Path) -> Command {
    static SETPRIV: LazyLock<bool> = LazyLock::new(|| {
        let asked = Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    });
    if !*SETPRIV {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// «Parent» means the thread that spawned, so all are spawned by one that lives as long as the process.
fn spawn(command: Command) -> Child {
    type Job = (Command, SyncSender<std::io::Result<Child>>);
    static SPAWNER: LazyLock<SyncSender<Job>> = LazyLock::new(|| {
        let (sender, jobs) = sync_channel::<Job>(1);
        std::thread::spawn(move || {
            for (mut command, answer) in jobs {
                // Whoever asked has not gone: it waits right below.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let program = format!("{command:?}");
    let (sender, answer) = sync_channel(1);
    SPAWNER.send((command, sender)).unwrap();
    answer.recv().unwrap().unwrap_or_else(|error| panic!("{program} cannot be started: {error}"))
}
