//! What one look at a server shows, when it may be several things at once: the worst is the outcome.

use wellkept_health::{Outcome, Reason, Verdict};

use crate::{Comparison, InvalidOption};

/// Longest part of a value that a detail quotes, in characters.
const MOST_QUOTED: usize = 64;

/// What is wrong, in the order in which it is told.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Outcome>);

impl Findings {
    pub(crate) fn add(&mut self, finding: Outcome) {
        self.0.push(finding);
    }

    /// A figure against its two limits, of which either may be left out. The message is written only if it is needed.
    pub(crate) fn limit<T: PartialOrd + Copy>(
        &mut self,
        figure: T,
        degraded_above: Option<T>,
        unhealthy_above: Option<T>,
        message: impl Fn() -> String,
    ) {
        if unhealthy_above.is_some_and(|limit| figure > limit) {
            self.add(Outcome::fail(Reason::Threshold, message()));
        } else if degraded_above.is_some_and(|limit| figure > limit) {
            self.add(Outcome::warn(Reason::Threshold, message()));
        }
    }

    /// The worst, of equally bad ones the first. Its detail tells the others too. A pass if there is nothing.
    pub(crate) fn worst(mut self) -> Outcome {
        let fails = self.0.iter().position(|finding| finding.verdict() == Verdict::Fail);
        if self.0.is_empty() {
            return Outcome::pass();
        }
        let worst = self.0.remove(fails.unwrap_or_default());
        if self.0.is_empty() {
            return worst;
        }
        let own = worst.detail().to_owned();
        let told = |outcome: &Outcome| match outcome.detail() {
            "" => outcome.message().to_owned(),
            detail => format!("{}: {detail}", outcome.message()),
        };
        let others: Vec<_> = self.0.iter().map(told).collect();
        let all = [own, format!("also: {}", others.join("; "))];
        worst.with_detail(all.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; "))
    }
}

/// What a query of a database gives: the first column of its first row.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    #[default]
    NoRow,
    Null,
    Value(String),
}

impl Found {
    pub(crate) fn number(&self) -> Option<f64> {
        let Self::Value(text) = self else { return None };
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }
}

/// Says that a query gave something else. What that was is only for operators: it is the application's data.
pub(crate) fn unexpected_value(expected: &Comparison, found: &Found) -> Option<Outcome> {
    let (holds, shown) = match found {
        Found::NoRow => (false, "no row".to_owned()),
        Found::Null => (expected.holds_text(None), "null".to_owned()),
        Found::Value(text) => {
            let cut: String = text.chars().take(MOST_QUOTED).collect();
            let more = if cut.len() < text.len() { "…" } else { "" };
            (expected.holds_text(Some(text)), format!("`{cut}{more}`"))
        }
    };
    let message = if *found == Found::NoRow { "query gave no row" } else { "unexpected value" };
    let finding =
        || Outcome::fail(Reason::Unexpected, message).with_detail(format!("expected {expected}, found {shown}"));
    (!holds).then(finding)
}

/// Refuses limits of which the worse would be passed before the better.
pub(crate) fn ordered<T: PartialOrd>(
    degraded_above: Option<T>,
    unhealthy_above: Option<T>,
    key: &'static str,
    better: &'static str,
) -> Result<(), InvalidOption> {
    match degraded_above.zip(unhealthy_above) {
        Some((degraded, unhealthy)) if unhealthy < degraded => {
            Err(InvalidOption::new(key, format!("must not be below {better}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_told_and_the_others_in_its_detail() {
        assert_eq!(Findings::default().worst().verdict(), Verdict::Pass);
        let mut findings = Findings::default();
        findings.limit(3, Some(2), Some(3), || "three".to_owned());
        findings.limit(2, Some(2), Some(9), || "two".to_owned());
        findings.limit(9, None, Some(8), || "nine".to_owned());
        let worst = findings.worst();
        assert_eq!((worst.verdict(), worst.message(), worst.detail()), (Verdict::Fail, "nine", "also: three"));
    }

    #[test]
    fn limits_in_the_wrong_order_are_refused() {
        ordered(Some(1), Some(1), "worse", "better").unwrap();
        ordered(Some(1), None, "worse", "better").unwrap();
        let refused = ordered(Some(2), Some(1), "worse", "better").unwrap_err();
        assert_eq!(refused.to_string(), "`worse`: must not be below better");
    }
}
