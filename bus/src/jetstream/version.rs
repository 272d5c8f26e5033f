//! Which servers are good enough.

/// Below this a crash of the server could lose a whole stream (nats-server issue 6888).
const LEAST: [u64; 3] = [2, 10, 23];
/// Below this fixes of the file store are missing.
const ADVISED: [u64; 3] = [2, 12, 0];

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// Works, but say this.
    Old(String),
    /// Must not be used.
    TooOld(String),
}

fn parse(version: &str) -> Option<[u64; 3]> {
    let mut numbers = version.trim_start_matches('v').splitn(3, '.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).map_or(part, |end| &part[..end]);
        digits.parse().ok()
    });
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

pub(super) fn judge(version: &str) -> Verdict {
    match parse(version) {
        Some(numbers) if numbers >= ADVISED => Verdict::Good,
        Some(numbers) if numbers >= LEAST => Verdict::Old(format!(
            "nats-server {version} is old: 2.12 or newer is advised, since it repairs faults of the file store"
        )),
        _ => Verdict::TooOld(format!(
            "nats-server {version} is too old: at least 2.10.23 is needed, since older ones can lose a whole stream when \
             they crash; install 2.12 or newer"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused_and_middle_aged_ones_are_named() {
        for good in ["2.15.1", "2.12.0", "2.12.0-RC.3", "v2.14.5", "3.0.0"] {
            assert_eq!(judge(good), Verdict::Good, "{good}");
        }
        assert!(matches!(judge("2.11.9"), Verdict::Old(_)));
        assert!(matches!(judge("2.10.23"), Verdict::Old(_)));
        for bad in ["2.10.22", "2.9.10", "", "new"] {
            assert!(matches!(judge(bad), Verdict::TooOld(_)), "{bad}");
        }
    }
}
