//! How much is measured, and what is made of it.

use std::time::Duration;

/// How many rounds, and how long each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
}

impl Effort {
    pub(crate) const FULL: Self = Self { rounds: 10, round: Duration::from_millis(1500) };
    pub(crate) const QUICK: Self = Self { rounds: 3, round: Duration::from_millis(300) };
}

/// The medians of A and B, and of the ratio A to B of each round: a slow moment of the machine hits both of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared {
    pub(crate) a: f64,
    pub(crate) b: f64,
    pub(crate) ratio: f64,
}

/// Measures A and B in turn, first one then the other first.
pub(crate) fn interleaved(rounds: usize, mut a: impl FnMut() -> f64, mut b: impl FnMut() -> f64) -> Compared {
    let (mut of_a, mut of_b, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (one, other) = if round % 2 == 0 {
            let one = a();
            (one, b())
        } else {
            let other = b();
            (a(), other)
        };
        of_a.push(one);
        of_b.push(other);
        ratios.push(one / other);
    }
    Compared { a: median(&mut of_a), b: median(&mut of_b), ratio: median(&mut ratios) }
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
