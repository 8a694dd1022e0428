//! The time of a line, formatted anew only when the second changes.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use super::Precision;

/// `2026-01-15T10:30:00.123Z`
pub(super) type Stamp = [u8; 24];

/// Formats the time, the seconds only when they change.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: i64,
    stamp: Stamp,
    millis: u16,
}

impl Clock {
    /// Takes the time; both ways of writing it follow it.
    #[inline]
    pub(super) fn tick(&mut self, precision: Precision) {
        let (second, nanoseconds) = match precision {
            // By the C library, so that a clock that is put before it is that of the log as well.
            Precision::Exact => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                (i64::try_from(now.as_secs()).unwrap_or(i64::MAX), i64::from(now.subsec_nanos()))
            }
            Precision::Coarse => {
                let now = clock_gettime(ClockId::RealtimeCoarse);
                (now.tv_sec, now.tv_nsec)
            }
        };
        self.set(second, u16::try_from(nanoseconds / 1_000_000).unwrap_or_default());
    }

    /// In RFC 3339.
    #[inline]
    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Seconds since 1970.
    pub(super) fn seconds(&self) -> i64 {
        self.second
    }

    /// The three digits after the point.
    pub(super) fn millis(&self) -> [u8; 3] {
        let [.., hundreds, tens, ones, _] = self.stamp;
        [hundreds, tens, ones]
    }

    #[inline]
    fn set(&mut self, second: i64, millis: u16) {
        // A clock before 1970 is shown as 1970.
        let second = second.max(0);
        if self.stamp[0] == 0 || self.second != second {
            self.second = second;
            let timestamp = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
            let text = format!("{timestamp:.3}");
            if let Ok(stamp) = Stamp::try_from(text.as_bytes()) {
                self.stamp = stamp;
            }
        } else if self.millis == millis {
            return;
        }
        self.millis = millis;
        for (place, divisor) in [(20, 100), (21, 10), (22, 1)] {
            self.stamp[place] = b'0' + u8::try_from(millis / divisor % 10).expect("a digit");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_in_utc_with_milliseconds() {
        let mut clock = Clock::default();
        let mut at = |second, millis| {
            clock.set(second, millis);
            assert_eq!(clock.millis(), clock.stamp[20..23]);
            String::from_utf8(clock.stamp().to_vec()).unwrap()
        };
        assert_eq!(at(1_768_473_000, 123), "2026-01-15T10:30:00.123Z");
        assert_eq!(at(1_768_473_000, 7), "2026-01-15T10:30:00.007Z");
        assert_eq!(at(1_768_473_001, 0), "2026-01-15T10:30:01.000Z");
        assert_eq!(at(0, 999), "1970-01-01T00:00:00.999Z");
        assert_eq!(at(-1, 999), "1970-01-01T00:00:00.999Z");
        assert_eq!(at(i64::MAX, 0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn both_clocks_tell_the_same_time() {
        let mut clocks = [Clock::default(), Clock::default()];
        clocks[0].tick(Precision::Exact);
        clocks[1].tick(Precision::Coarse);
        assert!((clocks[0].seconds() - clocks[1].seconds()).abs() <= 1);
    }
}
