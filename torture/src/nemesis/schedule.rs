//! What happens when, made from the seed alone: the same seed gives the same schedule.

use sealpost_testing::Form;
use serde::{Deserialize, Serialize};

use super::Fault;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub periods: Vec<Period>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    pub at_ms: u64,
    pub for_ms: u64,
    /// None: a quiet one.
    pub plans: Vec<Plan>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub at_ms: u64,
    pub for_ms: u64,
    pub fault: Fault,
    /// Chance for the fault itself: which process, how hard.
    pub pick: u64,
}

/// Before the first period, so that there is something to lose.
const WARM_UP_MS: u64 = 4_000;
/// After each period, to recover.
const BREATH_MS: u64 = 1_500;

impl Schedule {
    /// Fills `total_ms`. Each fault comes at least once if there is time, then pairs of them by chance; one period in four is quiet.
    pub fn make(seed: u64, total_ms: u64, form: Form, faults: &[Fault]) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut first: Vec<Fault> = faults.to_vec();
        random.shuffle(&mut first);
        let mut periods = Vec::new();
        let mut at_ms = WARM_UP_MS;
        loop {
            let for_ms = random.u64(3_000..=9_000);
            if at_ms + for_ms > total_ms || faults.is_empty() {
                return Self { periods };
            }
            let quiet = random.u32(0..4) == 0;
            let mut plans = Vec::new();
            if !quiet {
                let chosen = first.pop().unwrap_or_else(|| faults[random.usize(..faults.len())]);
                plans.push(plan(&mut random, chosen, at_ms, for_ms));
                let other = faults[random.usize(..faults.len())];
                if first.is_empty() && random.bool() && other.occupies(form) != chosen.occupies(form) {
                    plans.push(plan(&mut random, other, at_ms, for_ms));
                }
            }
            // A quiet period is a short one.
            let for_ms = if quiet { for_ms / 2 } else { for_ms };
            periods.push(Period { at_ms, for_ms, plans });
            at_ms += for_ms + BREATH_MS;
        }
    }

    /// Faults that are planned, without doubles.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> =
            self.periods.iter().flat_map(|period| &period.plans).map(|plan| plan.fault).collect();
        faults.sort_by_key(|fault| fault.name());
        faults.dedup();
        faults
    }
}

fn plan(random: &mut fastrand::Rng, fault: Fault, at_ms: u64, for_ms: u64) -> Plan {
    Plan { at_ms: at_ms + random.u64(0..500), for_ms: for_ms - 500, fault, pick: random.u64(..) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_another() {
        let make = |seed| Schedule::make(seed, 600_000, Form::Cluster, &Fault::ALL);
        assert_eq!(make(5), make(5));
        assert_ne!(make(5), make(6));
    }

    #[test]
    fn five_minutes_hold_every_fault_of_a_stack_and_a_quarter_is_quiet() {
        let faults: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| fault.applies(Form::Cluster, 1)).collect();
        let mut quiet = 0;
        let mut all = 0;
        for seed in 0..50 {
            let schedule = Schedule::make(seed, 300_000, Form::Cluster, &faults);
            assert_eq!(schedule.faults().len(), faults.len(), "seed {seed}");
            quiet += schedule.periods.iter().filter(|period| period.plans.is_empty()).count();
            all += schedule.periods.len();
            for pair in schedule.periods.windows(2) {
                assert!(pair[0].at_ms + pair[0].for_ms < pair[1].at_ms, "periods overlap");
            }
        }
        assert!((all / 5..all / 3).contains(&quiet), "{quiet} of {all}");
    }
}
