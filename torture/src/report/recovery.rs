//! How long it takes from the end of a fault to the first success.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use crate::history::{Answer, Entry, Number, OpId, What};

const LEADER: &str = "leader lost";
const LEADER_AMID: &str = "leader lost amid other faults";
/// A broker that came back has caught up after so many microseconds.
const BROKER_SETTLES: u64 = 15_000_000;

/// Milliseconds, of all times that this kind of fault was healed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recovery {
    pub times: u64,
    pub median: u64,
    pub worst: u64,
}

/// By kind: from the moment at which the process runs again (of a lost leader: from its loss) to the first message that was sent after the fault began and is acknowledged
/// as stored; of a gateway, by a device that had been connected to it, and so had to come back.
pub fn recoveries(history: &[Entry]) -> BTreeMap<String, Recovery> {
    let mut begun: HashMap<(&str, &str), (u64, HashSet<Number>)> = HashMap::new();
    let mut invoked: HashMap<OpId, (u64, Number)> = HashMap::new();
    let mut at_gateway: HashMap<Number, Number> = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut broker_back: Option<u64> = None;
    for Entry { at, what } in history {
        match what {
            What::FaultStart { fault, target, .. } => {
                let gateway = kind(fault, target).and_then(|(_, gateway)| gateway);
                let there = at_gateway.iter().filter(|(_, there)| Some(**there) == gateway).map(|(device, _)| *device);
                for open in open.iter_mut().filter(|open| open.kind == LEADER) {
                    LEADER_AMID.clone_into(&mut open.kind);
                }
                if fault == "F7" {
                    // Of three brokers two must be good and have all of it. Nobody waits for the lost one to come back.
                    let alone = begun.is_empty() && broker_back.is_none_or(|back| back + BROKER_SETTLES < *at);
                    let kind = if alone { LEADER } else { LEADER_AMID }.to_owned();
                    open.push(Open { kind, began: *at, healed: *at, devices: None });
                }
                begun.insert((fault, target), (*at, there.collect()));
            }
            What::FaultStop { fault, target } => {
                let (began, devices) = begun.remove(&(fault.as_str(), target.as_str())).unwrap_or_default();
                if fault == "F7" {
                    broker_back = Some(*at);
                }
                let Some((kind, gateway)) = kind(fault, target) else { continue };
                if gateway.is_none() || !devices.is_empty() {
                    open.push(Open { kind, began, healed: *at, devices: gateway.map(|_| devices) });
                }
            }
            What::Invoke { op, device, .. } => _ = invoked.insert(*op, (*at, *device)),
            What::Open { device, gateway, .. } => _ = at_gateway.insert(*device, *gateway),
            What::Ok { op, answer: Answer::Sent { stored: true, .. } } => {
                let Some(&(sent, device)) = invoked.get(op) else { continue };
                open.retain(|open| {
                    let concerned = open.devices.as_ref().is_none_or(|devices| devices.contains(&device));
                    let fits = sent > open.began && concerned;
                    if fits {
                        found.entry(open.kind.clone()).or_default().push((at - open.healed) / 1000);
                    }
                    !fits
                });
            }
            _ => {}
        }
    }
    found.into_iter().map(|(kind, times)| (kind, summary(times))).collect()
}

/// A fault that nobody has got over yet.
struct Open {
    kind: String,
    began: u64,
    healed: u64,
    devices: Option<HashSet<Number>>,
}

fn kind(fault: &str, target: &str) -> Option<(String, Option<Number>)> {
    let of_process = || {
        let (name, number) = target.rsplit_once('-')?;
        let number: Number = number.parse().ok()?;
        let gateway = matches!(name, "gateway" | "serve").then_some(number - 1);
        Some((if gateway.is_some() { format!("{name} killed") } else { "worker killed".to_owned() }, gateway))
    };
    match fault {
        // One process is behind both addresses.
        "F1" if target.starts_with("serve") => Some(("embedded killed".to_owned(), None)),
        "F1" => of_process(),
        "F4" => Some(("NATS killed".to_owned(), None)),
        "F5" => Some(("NATS set back".to_owned(), None)),
        "F8" => Some((target.replace("postgres,", "Postgres:"), None)),
        "F20" => Some(("all sockets dropped".to_owned(), None)),
        "F2" => Some(("killed at a point".to_owned(), None)),
        "F9" => Some((format!("disk of {target} full"), None)),
        "F21" => Some((format!("bit flipped in {target}"), None)),
        "F23" => Some((format!("embedded log {target}"), None)),
        _ => None,
    }
}

fn summary(mut times: Vec<u64>) -> Recovery {
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times.last().copied().unwrap_or(0));
    Recovery { times: times.len() as u64, median, worst }
}
