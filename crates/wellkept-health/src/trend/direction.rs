//! Which way a series goes, and how sure that is: Theil–Sen's slope, and the Mann–Kendall test against the least change
//! that matters.

use schemars::JsonSchema;
use serde::Serialize;

use super::window::rounded;

/// Most points that are compared, each with each; more are averaged in pairs, threes and so on first.
const MOST: usize = 120;
/// Fewer points say nothing: the test's normal approximation holds from here on (M. G. Kendall, "Rank Correlation
/// Methods", 1975).
pub(super) const FEWEST: usize = 8;
/// How sure a direction must be to be named.
const SURE: f64 = 0.95;

/// Which way a series went over a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Direction {
    /// The direction, when it is 95 % sure.
    pub direction: Course,
    /// How sure it is, from 0 to 1; of what is `unclear`, how sure the likeliest direction is.
    pub confidence: f64,
    /// By how much it changed over the window: of response times as a share of what they were, of failures in the
    /// share of runs that failed. `None` with fewer than eight points.
    pub change: Option<f64>,
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Course {
    /// It grew by more than the least change that matters.
    Rising,
    /// It shrank by more than that.
    Falling,
    /// It changed by less than that.
    Steady,
    /// There is too little to say, or it varies too much.
    Unclear,
}

/// A point of a series: a time, in any unit, and a value.
pub(super) type Point = (f64, f64);

impl Direction {
    /// The direction of points in the order of time. A change over the whole series by less than `least` is none.
    ///
    /// The confidence that the slope is above a bound is that of the Mann–Kendall test on the series from which the
    /// bound was subtracted. Points that follow their neighbour count for less (S. Yue and C. Wang, "The Mann–Kendall
    /// test modified by effective sample size", 2004).
    pub(super) fn of(points: &[Point], least: f64) -> Self {
        let points = thin(points);
        let Some(line) = Line::through(&points) else {
            return Self { direction: Course::Unclear, confidence: 0.0, change: None };
        };
        let bound = least / line.span;
        let falling = line.below(-bound);
        let rising = 1.0 - line.below(bound);
        let steady = (1.0 - falling - rising).max(0.0);
        let ranked = [(Course::Rising, rising), (Course::Falling, falling), (Course::Steady, steady)];
        let (course, confidence) =
            ranked.into_iter().max_by(|one, other| one.1.total_cmp(&other.1)).unwrap_or((Course::Unclear, 0.0));
        let direction = if confidence >= SURE { course } else { Course::Unclear };
        Self { direction, confidence: rounded(confidence), change: Some(rounded(line.slope * line.span)) }
    }
}

/// The line through a series: Theil–Sen's, which a fourth of wild points does not turn.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Change per unit of time.
    pub(super) slope: f64,
    /// The typical distance of a point from the line: 1.4826 times the median, which is a standard deviation where
    /// the distances are normal.
    pub(super) scatter: f64,
    /// From the first point to the last.
    pub(super) span: f64,
    /// All slopes between two points, ascending.
    slopes: Vec<f64>,
    /// Of Kendall's S.
    deviation: f64,
}

impl Line {
    /// `None` with fewer than [`FEWEST`] points, or when they are all at one time.
    pub(super) fn through(points: &[Point]) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let span = last.0 - first.0;
        if points.len() < FEWEST || span <= 0.0 {
            return None;
        }
        let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
        for (place, from) in points.iter().enumerate() {
            let later = points.iter().skip(place + 1).filter(|to| to.0 > from.0);
            slopes.extend(later.map(|to| (to.1 - from.1) / (to.0 - from.0)));
        }
        slopes.sort_by(f64::total_cmp);
        let slope = median_of_sorted(&slopes)?;
        let level = median(points.iter().map(|point| point.1 - slope * point.0).collect())?;
        let rests: Vec<f64> = points.iter().map(|point| point.1 - slope * point.0 - level).collect();
        let scatter = 1.4826 * median(rests.iter().map(|rest| rest.abs()).collect())?;
        let count = points.len() as f64;
        let variance = count * (count - 1.0) * (2.0 * count + 5.0) / 18.0;
        let deviation = (variance * repetition(&rests)).sqrt();
        Some(Self { slope, scatter, span, slopes, deviation })
    }

    /// How sure it is that the true slope is below a bound. Slopes that equal it count as half.
    pub(super) fn below(&self, bound: f64) -> f64 {
        let below = self.slopes.partition_point(|slope| *slope < bound);
        let not_above = self.slopes.partition_point(|slope| *slope <= bound);
        let balance = (below + not_above) as f64 - self.slopes.len() as f64;
        normal(balance / self.deviation)
    }

    /// The interval in which the true slope lies with a confidence whose normal quantile is given: 1.645 for 90 %
    /// (R. O. Gilbert, "Statistical Methods for Environmental Pollution Monitoring", 1987, 16.4.2).
    pub(super) fn interval(&self, quantile: f64) -> Option<(f64, f64)> {
        let (middle, half) = (self.slopes.len() as f64 / 2.0, quantile * self.deviation / 2.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the list's places")]
        let at = |place: f64| self.slopes.get(place.clamp(0.0, self.slopes.len() as f64 - 1.0) as usize).copied();
        Some((at(middle - half)?, at(middle + half)?))
    }
}

/// How many points of a series say as much as one would that knows nothing of its neighbours: (1 + r) / (1 − r), r
/// being the correlation of each with the next.
fn repetition(rests: &[f64]) -> f64 {
    let mean = rests.iter().sum::<f64>() / rests.len() as f64;
    let spread: f64 = rests.iter().map(|rest| (rest - mean).powi(2)).sum();
    let next = rests.iter().zip(rests.iter().skip(1));
    let shared: f64 = next.map(|(one, next)| (one - mean) * (next - mean)).sum();
    if spread <= 0.0 {
        return 1.0;
    }
    let correlation = (shared / spread).clamp(0.0, 0.95);
    (1.0 + correlation) / (1.0 - correlation)
}

fn thin(points: &[Point]) -> Vec<Point> {
    let together = points.len().div_ceil(MOST).max(1);
    let mean = |group: &[Point]| {
        let count = group.len() as f64;
        let (times, values) = group.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (times / count, values / count)
    };
    points.chunks(together).map(mean).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    median_of_sorted(&values)
}

fn median_of_sorted(values: &[f64]) -> Option<f64> {
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// The share of a normal distribution below a value (M. Abramowitz and I. A. Stegun, "Handbook of Mathematical
/// Functions", 26.2.17; the error is below 10⁻⁷).
fn normal(value: f64) -> f64 {
    let distance = value.abs();
    let term = 1.0 / (1.0 + 0.231_641_9 * distance);
    let coefficients = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = coefficients.iter().rev().fold(0.0, |sum, coefficient| (sum + coefficient) * term);
    let above = (-distance * distance / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum;
    if value < 0.0 { above } else { 1.0 - above }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise that is the same in every run, from -1 to 1.
    fn noise(seed: u64) -> impl Iterator<Item = f64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::from_fn(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            Some((state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0)
        })
    }

    fn series(count: usize, slope: f64, amount: f64, seed: u64) -> Vec<Point> {
        (0..count)
            .map(|time| time as f64)
            .zip(noise(seed))
            .map(|(time, by)| (time, slope * time + amount * by))
            .collect()
    }

    fn course(points: &[Point]) -> Course {
        Direction::of(points, 0.1).direction
    }

    #[test]
    fn what_rises_falls_and_stays_is_told_apart_from_its_noise() {
        for seed in 1..50 {
            assert_eq!(course(&series(144, 0.004, 0.2, seed)), Course::Rising, "{seed}");
            assert_eq!(course(&series(144, -0.004, 0.2, seed)), Course::Falling, "{seed}");
            assert_eq!(course(&series(144, 0.0, 0.05, seed)), Course::Steady, "{seed}");
        }
        let rising = Direction::of(&series(144, 0.004, 0.1, 3), 0.1);
        assert!(rising.confidence > 0.99 && (rising.change.unwrap() - 0.572).abs() < 0.1, "{rising:?}");
    }

    #[test]
    fn a_direction_that_is_not_there_is_seldom_named() {
        // Each point follows the one before: what wanders looks like a trend to a test that does not know.
        let wanders = |seed| {
            let mut value = 0.0;
            let step = |by| {
                value = 0.8 * value + by;
                value
            };
            (0..144).map(f64::from).zip(noise(seed).map(step)).collect::<Vec<Point>>()
        };
        let named =
            (1..=400).filter(|seed| matches!(course(&wanders(*seed)), Course::Rising | Course::Falling)).count();
        assert!(named <= 40, "{named} of 400 without a trend are said to have one");
    }

    #[test]
    fn wild_points_turn_nothing() {
        let mut points = series(100, 0.0, 0.01, 7);
        for point in points.iter_mut().skip(80) {
            point.1 += 1000.0 * f64::from(u8::from(point.0.rem_euclid(2.0) < 1.0));
        }
        let direction = Direction::of(&points, 0.1);
        assert_eq!(direction.direction, Course::Steady);
        assert!(direction.change.unwrap().abs() < 0.1, "{direction:?}");
    }

    #[test]
    fn too_few_points_and_points_without_time_are_unclear() {
        assert_eq!(course(&series(7, 1.0, 0.0, 1)), Course::Unclear);
        assert_eq!(course(&[(1.0, 1.0); 20]), Course::Unclear);
        assert_eq!(course(&[]), Course::Unclear);
        assert_eq!(course(&series(8, 0.0, 0.0, 1)), Course::Steady, "nothing at all happens in eight points");
    }

    #[test]
    fn the_normal_distribution_is_the_known_one() {
        for (value, share) in [(0.0, 0.5), (1.645, 0.950_015), (-1.96, 0.024_998), (3.0, 0.998_650)] {
            assert!((normal(value) - share).abs() < 1e-6, "{value}: {}", normal(value));
        }
    }
}
