//! The list of faults, where each applies, and what it needs.

use sealpost_testing::Form;
use serde::{Deserialize, Serialize};

use super::{Plan, World, broker, database, disk, embedded, network, processes, traffic};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fault {
    F1,
    F2,
    F3,
    F4,
    F5,
    F6,
    F6S,
    F7,
    F8,
    F9,
    F10,
    F11,
    F12,
    F13,
    F14,
    F15,
    F16,
    F17,
    F18,
    F19,
    F20,
    F21,
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
    pub const ALL: [Self; 24] = [
        Self::F1,
        Self::F2,
        Self::F3,
        Self::F4,
        Self::F5,
        Self::F6,
        Self::F6S,
        Self::F7,
        Self::F8,
        Self::F9,
        Self::F10,
        Self::F11,
        Self::F12,
        Self::F13,
        Self::F14,
        Self::F15,
        Self::F16,
        Self::F17,
        Self::F18,
        Self::F19,
        Self::F20,
        Self::F21,
        Self::F22,
        Self::F23,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::F1 => "F1",
            Self::F2 => "F2",
            Self::F3 => "F3",
            Self::F4 => "F4",
            Self::F5 => "F5",
            Self::F6 => "F6",
            Self::F6S => "F6S",
            Self::F7 => "F7",
            Self::F8 => "F8",
            Self::F9 => "F9",
            Self::F10 => "F10",
            Self::F11 => "F11",
            Self::F12 => "F12",
            Self::F13 => "F13",
            Self::F14 => "F14",
            Self::F15 => "F15",
            Self::F16 => "F16",
            Self::F17 => "F17",
            Self::F18 => "F18",
            Self::F19 => "F19",
            Self::F20 => "F20",
            Self::F21 => "F21",
            Self::F22 => "F22",
            Self::F23 => "F23",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::F1 => "processes killed",
            Self::F2 => "processes killed at named points",
            Self::F3 => "a process frozen",
            Self::F4 => "the broker killed",
            Self::F5 => "the broker set back to older files",
            Self::F6 => "a consumer of the broker deleted",
            Self::F6S => "the stream of the broker deleted",
            Self::F7 => "the leader of three brokers killed or frozen",
            Self::F8 => "Postgres crashed, stopped or its connections ended",
            Self::F9 => "the disk full",
            Self::F10 => "Postgres slow, and its table locked",
            Self::F11 => "database connections cut anywhere",
            Self::F12 => "sockets that never read",
            Self::F13 => "connections that swallow everything",
            Self::F14 => "every message eight times at once",
            Self::F15 => "clocks stepped",
            Self::F16 => "poison in the event log",
            Self::F17 => "a gateway started without its keys",
            Self::F18 => "one byte at a time, and broken frames",
            Self::F19 => "a flood of connections and sign-ins",
            Self::F20 => "all sockets dropped at once",
            Self::F21 => "flipped bits in the event log",
            Self::F22 => "a rolling restart",
            Self::F23 => "the embedded log killed, set back or torn",
        }
    }

    /// Whether it exists on this form, with so many brokers.
    pub fn applies(self, form: Form, brokers: usize) -> bool {
        match self {
            // What is done to the one broker there is, or on the way to it.
            Self::F4 | Self::F5 | Self::F6 | Self::F6S | Self::F13 | Self::F16 if brokers > 1 => false,
            Self::F7 => form == Form::Cluster && brokers > 1,
            Self::F4 | Self::F5 | Self::F6 | Self::F6S | Self::F8 | Self::F10 | Self::F11 | Self::F16 | Self::F17 => {
                form == Form::Cluster
            }
            Self::F23 => form == Form::Embedded,
            Self::F21 => brokers == 1,
            _ => true,
        }
    }

    /// The event log may lose what it has accepted.
    pub fn forgets(self) -> bool {
        matches!(self, Self::F5 | Self::F6S | Self::F21 | Self::F23)
    }

    /// Faults that must not meet: each needs the same thing for itself. The embedded log is a part of its process.
    pub fn occupies(self, form: Form) -> &'static str {
        match self {
            Self::F21 if form == Form::Embedded => "processes",
            Self::F4 | Self::F5 | Self::F6 | Self::F6S | Self::F7 | Self::F16 | Self::F21 => "broker",
            Self::F8 | Self::F9 | Self::F10 | Self::F11 => "database",
            Self::F1 | Self::F2 | Self::F3 | Self::F15 | Self::F17 | Self::F22 | Self::F23 => "processes",
            Self::F13 | Self::F18 | Self::F20 => "network",
            Self::F12 | Self::F14 | Self::F19 => "traffic",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name().eq_ignore_ascii_case(text))
    }
}

/// What the machine and the program let us do.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    pub form: Form,
    pub brokers: usize,
    pub failpoints: bool,
    pub small_disk: bool,
}

/// Faults that can be carried out, of those wanted, and what is left out by name.
pub fn available(means: Means, wanted: &[Fault]) -> (Vec<Fault>, Vec<Skipped>) {
    let mut skipped = Vec::new();
    let can = wanted.iter().copied().filter(|fault| {
        let why = match fault {
            Fault::F7 if means.form == Form::Cluster && means.brokers == 1 => "needs three brokers: --brokers 3",
            fault if !fault.applies(means.form, means.brokers) => "does not exist on this stack",
            Fault::F2 | Fault::F15 if !means.failpoints => "the program was built without its feature `failpoints`",
            Fault::F9 if !means.small_disk => {
                "a disk of its own, which can be filled, takes root and the right to mount"
            }
            _ => return true,
        };
        skipped.push(Skipped { fault: fault.name().to_owned(), why: why.to_owned() });
        false
    });
    let can = can.collect();
    (can, skipped)
}

pub(super) async fn perform(world: &World, plan: Plan) {
    match plan.fault {
        Fault::F1 => processes::kill(world, plan).await,
        Fault::F2 => processes::kill_at_a_point(world, plan).await,
        Fault::F3 => processes::freeze(world, plan).await,
        Fault::F4 => broker::kill(world, plan).await,
        Fault::F5 => broker::set_back(world, plan).await,
        Fault::F6 => broker::delete_consumer(world, plan).await,
        Fault::F6S => broker::delete_stream(world, plan).await,
        Fault::F7 => broker::lose_the_leader(world, plan).await,
        Fault::F8 => database::crash(world, plan).await,
        Fault::F9 => disk::fill(world, plan).await,
        Fault::F10 => database::slow(world, plan).await,
        Fault::F11 => database::cut(world, plan).await,
        Fault::F12 => traffic::never_read(world, plan).await,
        Fault::F13 => network::black_hole(world, plan).await,
        Fault::F14 => traffic::duplicates(world, plan).await,
        Fault::F15 => processes::step_clocks(world, plan).await,
        Fault::F16 => broker::poison(world, plan).await,
        Fault::F17 => processes::without_keys(world, plan).await,
        Fault::F18 => network::drizzle(world, plan).await,
        Fault::F19 => traffic::flood(world, plan).await,
        Fault::F20 => network::storm(world, plan).await,
        Fault::F21 if world.shared.stack.form == Form::Cluster => broker::flip_a_bit(world, plan).await,
        Fault::F21 => embedded::flip_a_bit(world, plan).await,
        Fault::F22 => processes::roll(world, plan).await,
        Fault::F23 => embedded::damage(world, plan).await,
    }
}
