//! Named points at which a process dies if a test asks for it, with `SEALPOST_FAILPOINT=<name>:<times>`: at that passing, counted from 1,
//! it ends at once, as by SIGKILL. Only in programs that are built for tests (debug builds, or the feature `failpoints`); in others
//! the calls are empty.

/// Passes the point.
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub fn failpoint(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let wanted = std::env::var("SEALPOST_FAILPOINT").ok()?;
        let (name, times) = wanted.split_once(':')?;
        Some((name.to_owned(), times.parse().ok()?))
    });
    static PASSED: AtomicU64 = AtomicU64::new(0);

    if let Some((wanted, times)) = &*WANTED
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *times
    {
        // Nothing is flushed and nobody is told.
        std::process::abort();
    }
}

/// Passes the point.
#[cfg(not(any(debug_assertions, feature = "failpoints")))]
#[inline(always)]
pub fn failpoint(_: &str) {}
