//! The time of a line, formatted anew only when the second changes.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// `2026-01-15T10:30:00.123Z`
pub(super) type Stamp = [u8; 24];

/// Formats the time, the seconds only when they change.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: u64,
    stamp: Stamp,
}

impl Clock {
    /// The time now.
    pub(super) fn now(&mut self) -> Stamp {
        // A clock before 1970 is shown as 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.at(since.as_secs(), since.subsec_millis())
    }

    fn at(&mut self, second: u64, millis: u32) -> Stamp {
        if self.stamp[0] == 0 || self.second != second {
            self.second = second;
            let second = i64::try_from(second).unwrap_or(i64::MAX);
            let timestamp = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
            let text = format!("{timestamp:.3}");
            if let Ok(stamp) = Stamp::try_from(text.as_bytes()) {
                self.stamp = stamp;
            }
        }
        for (place, divisor) in [(20, 100), (21, 10), (22, 1)] {
            self.stamp[place] = b'0' + u8::try_from(millis / divisor % 10).expect("a digit");
        }
        self.stamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_in_utc_with_milliseconds() {
        let mut clock = Clock::default();
        let mut at = |second, millis| String::from_utf8(clock.at(second, millis).to_vec()).unwrap();
        assert_eq!(at(1_768_473_000, 123), "2026-01-15T10:30:00.123Z");
        assert_eq!(at(1_768_473_000, 7), "2026-01-15T10:30:00.007Z");
        assert_eq!(at(1_768_473_001, 0), "2026-01-15T10:30:01.000Z");
        assert_eq!(at(0, 999), "1970-01-01T00:00:00.999Z");
        assert_eq!(at(u64::MAX, 0), "1970-01-01T00:00:00.000Z");
    }
}
