//! How long it takes from the end of a fault to the first success.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use crate::history::{Answer, Entry, Number, OpId, What};

/// Milliseconds, of all times that this kind of fault was healed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recovery {
    pub times: u64,
    pub median: u64,
    pub worst: u64,
}

/// By kind: from the moment at which the process runs again to the first message that was sent after the fault began and is acknowledged
/// as stored; of a gateway, by a device that had been connected to it, and so had to come back.
pub fn recoveries(history: &[Entry]) -> BTreeMap<String, Recovery> {
    let mut begun: HashMap<(&str, &str), (u64, HashSet<Number>)> = HashMap::new();
    let mut invoked: HashMap<OpId, (u64, Number)> = HashMap::new();
    let mut at_gateway: HashMap<Number, Number> = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for Entry { at, what } in history {
        match what {
            What::FaultStart { fault, target, .. } => {
                let gateway = kind(fault, target).and_then(|(_, gateway)| gateway);
                let there = at_gateway.iter().filter(|(_, there)| Some(**there) == gateway).map(|(device, _)| *device);
                begun.insert((fault, target), (*at, there.collect()));
            }
            What::FaultStop { fault, target } => {
                let Some((kind, gateway)) = kind(fault, target) else { continue };
                let (began, devices) = begun.remove(&(fault.as_str(), target.as_str())).unwrap_or_default();
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
        "F23" => Some((format!("embedded log {target}"), None)),
        _ => None,
    }
}

fn summary(mut times: Vec<u64>) -> Recovery {
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times.last().copied().unwrap_or(0));
    Recovery { times: times.len() as u64, median, worst }
}
