//! How often something changed, by what it changed to and why: counts whose number is bounded.

use crate::outcome::Reason;

/// How often a status, or readiness, changed, by what it changed to and the reason's code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    counts: Vec<ChangeCount>,
    /// Codes of the application's own that have a count.
    custom: Vec<&'static str>,
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
        let code = match reason {
            None => "none",
            Some(Reason::Custom(code)) => self.told_apart(code),
            Some(reason) => reason.as_str(),
        };
        self.add_word(to, code);
    }

    /// Counts a change whose reason is one of few words.
    pub(crate) fn add_word(&mut self, to: &'static str, reason: &'static str) {
        match self.counts.iter_mut().find(|count| count.to == to && count.reason == reason) {
            Some(count) => count.count += 1,
            None => self.counts.push(ChangeCount { to, reason, count: 1 }),
        }
    }

    fn told_apart(&mut self, code: &'static str) -> &'static str {
        if self.custom.contains(&code) {
            return code;
        }
        if self.custom.len() >= Self::MOST_CUSTOM {
            return "other";
        }
        self.custom.push(code);
        code
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
