//! The list of faults, where each applies, and what it needs.

use sealpost_testing::Form;
use serde::{Deserialize, Serialize};

use super::{Plan, World, broker, database, embedded, network, processes, traffic};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fault {
    F1,
    F3,
    F4,
    F5,
    F6,
    F6S,
    F8,
    F10,
    F11,
    F12,
    F13,
    F14,
    F16,
    F17,
    F18,
    F19,
    F20,
    F22,
    F23,
}

/// A fault that is not carried out, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    pub fault: String,
    pub why: String,
}

impl Fault {
    pub const ALL: [Self; 18] = [
        Self::F1,
        Self::F3,
        Self::F4,
        Self::F5,
        Self::F6,
        Self::F8,
        Self::F10,
        Self::F11,
        Self::F12,
        Self::F13,
        Self::F14,
        Self::F16,
        Self::F17,
        Self::F18,
        Self::F19,
        Self::F20,
        Self::F22,
        Self::F23,
    ];

    /// Only by name: what it breaks is known, written down in `docs/reliability.md`, and not mended.
    pub const ON_REQUEST: [Self; 1] = [Self::F6S];

    pub fn name(self) -> &'static str {
        match self {
            Self::F1 => "F1",
            Self::F3 => "F3",
            Self::F4 => "F4",
            Self::F5 => "F5",
            Self::F6 => "F6",
            Self::F6S => "F6S",
            Self::F8 => "F8",
            Self::F10 => "F10",
            Self::F11 => "F11",
            Self::F12 => "F12",
            Self::F13 => "F13",
            Self::F14 => "F14",
            Self::F16 => "F16",
            Self::F17 => "F17",
            Self::F18 => "F18",
            Self::F19 => "F19",
            Self::F20 => "F20",
            Self::F22 => "F22",
            Self::F23 => "F23",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::F1 => "processes killed",
            Self::F3 => "a process frozen",
            Self::F4 => "the broker killed",
            Self::F5 => "the broker set back to older files",
            Self::F6 => "a consumer of the broker deleted",
            Self::F6S => "the stream of the broker deleted",
            Self::F8 => "Postgres crashed, stopped or its connections ended",
            Self::F10 => "Postgres slow, and its table locked",
            Self::F11 => "database connections cut anywhere",
            Self::F12 => "sockets that never read",
            Self::F13 => "connections that swallow everything",
            Self::F14 => "every message eight times at once",
            Self::F16 => "poison in the event log",
            Self::F17 => "a gateway started without its keys",
            Self::F18 => "one byte at a time, and broken frames",
            Self::F19 => "a flood of connections and sign-ins",
            Self::F20 => "all sockets dropped at once",
            Self::F22 => "a rolling restart",
            Self::F23 => "the embedded log killed, set back or torn",
        }
    }

    pub fn applies(self, form: Form) -> bool {
        match self {
            Self::F4 | Self::F5 | Self::F6 | Self::F6S | Self::F8 | Self::F10 | Self::F11 | Self::F16 | Self::F17 => {
                form == Form::Cluster
            }
            Self::F23 => form == Form::Embedded,
            _ => true,
        }
    }

    /// The event log may lose what it has accepted.
    pub fn forgets(self) -> bool {
        matches!(self, Self::F5 | Self::F6S | Self::F23)
    }

    /// Faults that must not meet: each needs the same thing for itself.
    pub fn occupies(self) -> &'static str {
        match self {
            Self::F4 | Self::F5 | Self::F6 | Self::F6S | Self::F16 => "broker",
            Self::F8 | Self::F10 | Self::F11 => "database",
            Self::F1 | Self::F3 | Self::F17 | Self::F22 | Self::F23 => "processes",
            Self::F13 | Self::F18 | Self::F20 => "network",
            Self::F12 | Self::F14 | Self::F19 => "traffic",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().chain(Self::ON_REQUEST).find(|fault| fault.name().eq_ignore_ascii_case(text))
    }
}

/// Faults that can be carried out on this form, of those wanted, and what is left out by name.
pub fn available(form: Form, wanted: &[Fault]) -> (Vec<Fault>, Vec<Skipped>) {
    let (can, cannot): (Vec<Fault>, Vec<Fault>) = wanted.iter().partition(|fault| fault.applies(form));
    let mut skipped: Vec<Skipped> = cannot
        .into_iter()
        .map(|fault| Skipped { fault: fault.name().to_owned(), why: format!("does not exist on the {form:?} stack") })
        .collect();
    for (fault, why) in [
        ("F2", "kills at named points are in the simulation: the program has no failpoints"),
        ("F6S", "the stream deleted: only by name, since what it breaks is known and not mended"),
        ("F7", "three brokers with a leader: the harness starts one"),
        ("F9", "a full disk needs root (tmpfs) or strace, and is not built yet"),
        ("F15", "clock steps need libfaketime: the program takes no clock from outside"),
        ("F21", "flipped bits in files: not built yet"),
    ] {
        if !wanted.iter().any(|wanted| wanted.name() == fault) {
            skipped.push(Skipped { fault: fault.to_owned(), why: why.to_owned() });
        }
    }
    (can, skipped)
}

pub(super) async fn perform(world: &World, plan: Plan) {
    match plan.fault {
        Fault::F1 => processes::kill(world, plan).await,
        Fault::F3 => processes::freeze(world, plan).await,
        Fault::F4 => broker::kill(world, plan).await,
        Fault::F5 => broker::set_back(world, plan).await,
        Fault::F6 => broker::delete_consumer(world, plan).await,
        Fault::F6S => broker::delete_stream(world, plan).await,
        Fault::F8 => database::crash(world, plan).await,
        Fault::F10 => database::slow(world, plan).await,
        Fault::F11 => database::cut(world, plan).await,
        Fault::F12 => traffic::never_read(world, plan).await,
        Fault::F13 => network::black_hole(world, plan).await,
        Fault::F14 => traffic::duplicates(world, plan).await,
        Fault::F16 => broker::poison(world, plan).await,
        Fault::F17 => processes::without_keys(world, plan).await,
        Fault::F18 => network::drizzle(world, plan).await,
        Fault::F19 => traffic::flood(world, plan).await,
        Fault::F20 => network::storm(world, plan).await,
        Fault::F22 => processes::roll(world, plan).await,
        Fault::F23 => embedded::damage(world, plan).await,
    }
}
