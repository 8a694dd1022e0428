//! How often something changed, by what it changed to and why: counts whose number is bounded.

use std::collections::BTreeSet;

use crate::outcome::Reason;

/// How often a status, or readiness, changed, by what it changed to and the reason's code. Small: every component has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    counts: Box<[ChangeCount]>,
}

/// How often something changed to one word for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeCount {
    /// What it changed to, for example `unhealthy`.
    pub to: &'static str,
    /// The reason's code, for example `refused`; `none` where there is none, `other` for what is too many.
    pub reason: &'static str,
    /// How often.
    pub count: u64,
    is_custom: bool,
}

impl Changes {
    /// Codes of the application's own ([`Reason::Custom`]) that are told apart; what more there are count as `other`.
    pub const MOST_CUSTOM: usize = 16;

    /// The counts, in the order in which each first came.
    pub fn iter(&self) -> impl Iterator<Item = ChangeCount> {
        self.counts.iter().copied()
    }

    /// Counts a change for a reason.
    pub(crate) fn add(&mut self, to: &'static str, reason: Option<&Reason>) {
        match reason {
            None => self.add_word(to, "none"),
            Some(Reason::Custom(code)) => self.count(to, self.told_apart(code), true),
            Some(reason) => self.add_word(to, reason.as_str()),
        }
    }

    /// Counts a change whose reason is one of few words.
    pub(crate) fn add_word(&mut self, to: &'static str, reason: &'static str) {
        self.count(to, reason, false);
    }

    fn count(&mut self, to: &'static str, reason: &'static str, is_custom: bool) {
        if let Some(known) = self.counts.iter_mut().find(|known| known.to == to && known.reason == reason) {
            known.count += 1;
        } else {
            // One that never was before is rare, and room for the next would be there for ever.
            let new = ChangeCount { to, reason, count: 1, is_custom };
            self.counts = self.counts.iter().copied().chain([new]).collect();
        }
    }

    fn told_apart(&self, code: &'static str) -> &'static str {
        let codes: BTreeSet<_> = self.counts.iter().filter(|one| one.is_custom).map(|one| one.reason).collect();
        if codes.contains(code) || codes.len() < Self::MOST_CUSTOM { code } else { "other" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_by_what_they_lead_to_and_why() {
        let mut changes = Changes::default();
        for (to, reason) in
            [("unhealthy", Some(Reason::Refused)), ("healthy", None), ("unhealthy", Some(Reason::Refused))]
        {
            changes.add(to, reason.as_ref());
        }
        let counts: Vec<_> = changes.iter().map(|one| (one.to, one.reason, one.count)).collect();
        assert_eq!(counts, [("unhealthy", "refused", 2), ("healthy", "none", 1)]);
    }

    #[test]
    fn codes_of_the_applications_own_are_bounded() {
        let mut changes = Changes::default();
        for number in 0..1000 {
            changes.add("unhealthy", Some(&Reason::Custom(format!("code_{number}").leak())));
            changes.add("unhealthy", Some(&Reason::Refused));
        }
        assert_eq!(changes.iter().count(), Changes::MOST_CUSTOM + 2, "those, `refused` and `other`");
        let of = |reason: &str| changes.iter().find(|one| one.reason == reason).map(|one| one.count);
        assert_eq!((of("code_0"), of("other"), of("refused")), (Some(1), Some(984), Some(1000)));
    }
}
