//! Latencies in buckets: constant memory however long the run, quantiles at most 0.8 % too high, the maximum exact.

use std::time::Duration;

use serde::Serialize;

/// 128 buckets for each doubling.
const SUB_BITS: u32 = 7;
/// Values from about 134 s on share the last bucket.
const TOP_BITS: u32 = 27;
const BUCKETS: usize = ((TOP_BITS - SUB_BITS + 1) as usize) << SUB_BITS;

/// Counts of values in microseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u32]>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0, max: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let count = &mut self.counts[bucket(micros)];
        *count = count.saturating_add(1);
        self.total += 1;
        self.max = self.max.max(micros);
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The value that `per_mille` of 1,000 values do not exceed, in microseconds; 0 if nothing was recorded.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut passed = 0;
        for (index, count) in self.counts.iter().enumerate() {
            passed += u64::from(*count);
            if passed >= rank {
                return if index + 1 == BUCKETS { self.max } else { highest_value(index).min(self.max) };
            }
        }
        self.max
    }

    pub fn summary(&self) -> LatencyMs {
        let ms = |micros| crate::report::float(micros) / 1000.0;
        LatencyMs {
            p50: ms(self.quantile(500)),
            p90: ms(self.quantile(900)),
            p99: ms(self.quantile(990)),
            max: ms(self.max),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LatencyMs {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// Small values have a bucket each; above, the leading eight bits of the value choose it.
fn bucket(value: u64) -> usize {
    let value = value.min((1 << TOP_BITS) - 1);
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(SUB_BITS + 1);
    let index = (u64::from(shift) << SUB_BITS) + (value >> shift);
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

fn highest_value(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> SUB_BITS).saturating_sub(1);
    let leading = bucket - (shift << SUB_BITS);
    ((leading + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|micros| histogram.record(Duration::from_micros(micros)));
        histogram
    }

    #[test]
    fn every_value_lies_in_a_bucket_that_ends_less_than_a_hundredth_above_it() {
        let mut before = 0;
        for value in (0..2_000).chain((2_000..120_000_000).step_by(997)) {
            let index = bucket(value);
            assert!(index >= before && index < BUCKETS, "{value}");
            let top = highest_value(index);
            assert!(top >= value && top - value <= value / 100, "{value} in a bucket up to {top}");
            before = index;
        }
    }

    #[test]
    fn buckets_follow_each_other_without_gap_or_overlap() {
        for index in 0..BUCKETS - 1 {
            assert_eq!(bucket(highest_value(index)), index);
            assert_eq!(bucket(highest_value(index) + 1), index + 1);
        }
    }

    #[test]
    fn small_quantiles_are_exact() {
        let histogram = of(1..=100);
        assert_eq!([1, 500, 900, 990, 1000].map(|per_mille| histogram.quantile(per_mille)), [1, 50, 90, 99, 100]);
        let mixed = of((0..98).map(|_| 10).chain([200, 5_000_000]));
        assert_eq!((mixed.quantile(980), mixed.quantile(990), mixed.quantile(1000)), (10, 200, 5_000_000));
    }

    #[test]
    fn merging_equals_recording_everything_in_one() {
        let mut merged = of((0..1_000).map(|n| n * 7));
        merged.merge(&of((0..500).map(|n| n * 131)));
        let whole = of((0..1_000).map(|n| n * 7).chain((0..500).map(|n| n * 131)));
        for per_mille in 0..=1000 {
            assert_eq!(merged.quantile(per_mille), whole.quantile(per_mille));
        }
    }

    #[test]
    fn nothing_and_far_too_much_are_reported_as_they_are() {
        assert_eq!(Histogram::default().quantile(990), 0);
        let slow = of([300_000_000, 400_000_000]);
        assert_eq!(slow.quantile(1000), 400_000_000);
    }
}
