//! CPU time and memory of the servers, read from `/proc`.

use std::fs;
use std::str::FromStr;

use anyhow::Context as _;
use serde::Serialize;

use crate::report::float;

/// `USER_HZ`: what Linux counts CPU time in, on every platform it is built for today.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that is watched, as `name=PID`. A Postgres stands for its whole family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub name: String,
    pub pid: u32,
}

impl FromStr for Watched {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, pid) = text.split_once('=').context("want name=PID")?;
        Ok(Self { name: name.to_owned(), pid: pid.parse().context("want name=PID")? })
    }
}

/// CPU time so far and memory now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    ticks: u64,
    pub memory_kib: u64,
}

impl Sample {
    pub fn cpu_seconds_since(self, before: Self) -> f64 {
        float(self.ticks.saturating_sub(before.ticks)) / TICKS_PER_SECOND
    }
}

/// What a process used while messages were delivered.
#[derive(Clone, Debug, Serialize)]
pub struct Usage {
    pub name: String,
    pub cpu_seconds: f64,
    pub cpu_seconds_per_1000: f64,
    pub rss_mib: f64,
}

pub fn own_cpu() -> Sample {
    let ticks = Stat::of("self").map_or(0, |stat| stat.own_ticks);
    Sample { ticks, memory_kib: 0 }
}

/// One sample for each, zeros for a process that is gone.
pub fn sample(watched: &[Watched]) -> Vec<Sample> {
    watched
        .iter()
        .map(|process| if process.is_postgres() { family(process.pid) } else { single(process.pid) })
        .collect()
}

/// The most memory that each has had since it began, in MiB.
pub fn peaks(watched: &[Watched]) -> Vec<(String, f64)> {
    let peak = |process: &Watched| {
        let kib = kib_line(&format!("/proc/{}/status", process.pid), "VmHWM:").unwrap_or(0);
        (process.name.clone(), float(kib) / 1024.0)
    };
    watched.iter().map(peak).collect()
}

impl Watched {
    fn is_postgres(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/comm", self.pid)).is_ok_and(|name| name.starts_with("postgres"))
    }
}

fn single(pid: u32) -> Sample {
    Sample {
        ticks: Stat::of(pid).map_or(0, |stat| stat.own_ticks),
        memory_kib: kib_line(&format!("/proc/{pid}/status"), "VmRSS:").unwrap_or(0),
    }
}

/// The process, those it started, and those of them that have ended. Shared pages are counted once (PSS), because
/// Postgres maps one shared buffer into all of its processes.
fn family(pid: u32) -> Sample {
    let mut sample = Sample { ticks: Stat::of(pid).map_or(0, |stat| stat.ended_children_ticks), memory_kib: 0 };
    for (member, stat) in all_processes().into_iter().filter(|(member, stat)| *member == pid || stat.parent == pid) {
        sample.ticks += stat.own_ticks;
        let shared = kib_line(&format!("/proc/{member}/smaps_rollup"), "Pss:");
        sample.memory_kib +=
            shared.or_else(|| kib_line(&format!("/proc/{member}/status"), "VmRSS:")).unwrap_or_default();
    }
    sample
}

pub fn parent_of(pid: u32) -> Option<u32> {
    Stat::of(pid).map(|stat| stat.parent)
}

fn all_processes() -> Vec<(u32, Stat)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    entries.flatten().filter_map(pid).filter_map(|pid| Some((pid, Stat::of(pid)?))).collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own_ticks: u64,
    ended_children_ticks: u64,
}

impl Stat {
    fn of(pid: impl std::fmt::Display) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is the name in parentheses, which may hold anything; the rest are numbers.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own_ticks: ticks(11)? + ticks(12)?,
            ended_children_ticks: ticks(13)? + ticks(14)?,
        })
    }
}

fn kib_line(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "27 (a) b (c)) S 9 1 1 0 -1 4194304 100 0 0 0 40 2 300 5 20 0 1 0 284593 3133440 360 0";
        assert_eq!(Stat::parse(line), Some(Stat { parent: 9, own_ticks: 42, ended_children_ticks: 305 }));
        assert_eq!(Stat::parse("27 (cut"), None);
    }

    #[test]
    fn this_process_has_memory_and_a_parent() {
        let me = std::process::id();
        assert!(single(me).memory_kib > 500);
        assert_eq!(parent_of(me), Some(std::os::unix::process::parent_id()));
        assert_eq!(sample(&[Watched { name: "gone".to_owned(), pid: u32::MAX - 1 }])[0].memory_kib, 0);
    }

    #[test]
    fn watched_processes_are_given_as_name_and_pid() {
        assert_eq!("nats=17".parse::<Watched>().unwrap(), Watched { name: "nats".to_owned(), pid: 17 });
        assert!("17".parse::<Watched>().is_err() && "nats=x".parse::<Watched>().is_err());
    }
}
