//! The tiers: how finely time is kept, and for how long.

use jiff::Timestamp;

/// How finely time is kept. Each tier is a ring of slots: a new one takes the place of the oldest.
///
/// Three are enough: every [window](super::Span) is read from a tier with 60 to 720 slots in it, which is as many as
/// a chart has pixels to spare for, and nothing asks for more than 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// A minute each, for two hours.
    Minute,
    /// Ten minutes each, for two days.
    TenMinutes,
    /// An hour each, for 31 days.
    Hour,
}

impl Tier {
    /// All tiers, the finest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::TenMinutes, Self::Hour];

    /// A slot's length, in milliseconds.
    pub const fn millis(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::TenMinutes => 600_000,
            Self::Hour => 3_600_000,
        }
    }

    /// How many slots the ring has.
    pub const fn slots(self) -> i64 {
        match self {
            Self::Minute => 120,
            Self::TenMinutes => 288,
            Self::Hour => 744,
        }
    }

    /// The number of the slot that an instant falls into, counted from 1970.
    pub fn slot(self, at: Timestamp) -> i64 {
        at.as_millisecond().div_euclid(self.millis())
    }

    /// When a slot begins.
    pub fn start(self, slot: i64) -> Timestamp {
        let millisecond = slot.saturating_mul(self.millis());
        Timestamp::from_millisecond(millisecond).unwrap_or(if slot < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }

    /// The slot of this tier that a minute falls into.
    pub const fn slot_of_minute(self, minute: i64) -> i64 {
        minute.div_euclid(self.millis() / Self::Minute.millis())
    }

    /// Where in the ring a slot stands.
    pub const fn place(self, slot: i64) -> i64 {
        slot.rem_euclid(self.slots())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_falls_into_one_slot_of_each_tier_before_1970_too() {
        let at: Timestamp = "2026-01-15T10:39:59.999Z".parse().unwrap();
        for (tier, start) in Tier::ALL.into_iter().zip(["10:39:00", "10:30:00", "10:00:00"]) {
            let slot = tier.slot(at);
            assert_eq!(tier.start(slot).to_string(), format!("2026-01-15T{start}Z"));
            assert_eq!(tier.slot_of_minute(Tier::Minute.slot(at)), slot);
        }
        let early: Timestamp = "1969-12-31T23:59:59Z".parse().unwrap();
        assert_eq!(Tier::Hour.slot(early), -1);
        assert_eq!(Tier::Hour.place(-1), 743);
        assert_eq!(Tier::Hour.start(i64::MAX), Timestamp::MAX);
    }
}
