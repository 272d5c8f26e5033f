//! Time, passed in: everything that needs the date gets a [`Clock`], so that tests can step it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment, in milliseconds since 1970-01-01 UTC. On the wire it is RFC 3339 text (`2026-11-21T09:30:00.123Z`), in the
/// database a 64-bit integer. It orders nothing: order comes from [`Seq`](crate::Seq).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, never negative.
    pub fn unix_seconds(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }

    #[must_use]
    pub fn minus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    #[must_use]
    pub fn plus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000);
        match moment.ok().and_then(|moment| {
            let (h, m, s, ms) = moment.to_hms_milli();
            let (year, month, day) = (moment.year(), u8::from(moment.month()), moment.day());
            (0..=9999).contains(&year).then_some((year, month, day, h, m, s, ms))
        }) {
            Some((year, month, day, h, m, s, ms)) => {
                write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
            }
            None => write!(f, "{}ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let moment = OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)?;
        i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).map(Self).map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC, milliseconds"))
            .examples([serde_json::json!("2026-11-21T09:30:00.123Z")])
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

/// Where the time comes from. Cloning shares it.
#[derive(Clone, Default)]
pub struct Clock {
    /// Added to the time; what a test steps.
    skew_millis: Arc<AtomicI64>,
    /// Instead of the system's time.
    source: Option<Arc<dyn Fn() -> Timestamp + Send + Sync>>,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = self.source.is_none();
        f.debug_struct("Clock").field("skew_millis", &self.skew_millis).field("system", &system).finish_non_exhaustive()
    }
}

impl Clock {
    /// The system's clock, plus `skew` milliseconds.
    pub fn skewed(skew: i64) -> Self {
        Self { skew_millis: Arc::new(AtomicI64::new(skew)), source: None }
    }

    /// Time from elsewhere: simulations, in which a minute passes in a moment.
    pub fn of(source: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { skew_millis: Arc::default(), source: Some(Arc::new(source)) }
    }

    /// Steps this clock (and all its clones).
    pub fn step(&self, millis: i64) {
        self.skew_millis.fetch_add(millis, Ordering::Relaxed);
    }

    pub fn now(&self) -> Timestamp {
        let skew = self.skew_millis.load(Ordering::Relaxed);
        if let Some(source) = &self.source {
            return Timestamp(source().0.saturating_add(skew));
        }
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Timestamp(millis.saturating_add(skew).saturating_add(steps()))
    }
}

/// Milliseconds that a test steps the clock of a whole process by, in the file that `SEALPOST_CLOCK_FILE` names. Looked at ten times a
/// second. Only in programs that are built for tests.
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn steps() -> i64 {
    use std::path::PathBuf;
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::{Duration, Instant};

    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("SEALPOST_CLOCK_FILE").map(PathBuf::from));
    static LAST: Mutex<Option<(Instant, i64)>> = Mutex::new(None);

    let Some(file) = &*FILE else { return 0 };
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match *last {
        Some((at, steps)) if at.elapsed() < Duration::from_millis(100) => steps,
        _ => {
            let steps = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            *last = Some((Instant::now(), steps));
            steps
        }
    }
}

#[cfg(not(any(debug_assertions, feature = "failpoints")))]
fn steps() -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc3339_with_milliseconds_both_ways() {
        let moment = Timestamp::from_millis(1_795_253_400_007);
        let text = serde_json::to_string(&moment).unwrap();
        assert_eq!(text, "\"2026-11-21T09:30:00.007Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), moment);
        assert!(serde_json::from_str::<Timestamp>("\"yesterday\"").is_err());
    }

    #[test]
    fn a_stepped_clock_steps_its_clones() {
        let clock = Clock::default();
        let other = clock.clone();
        let before = other.now();
        clock.step(-3_600_000);
        assert!(other.now() < before);
    }
}
