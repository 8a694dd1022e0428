//! Response times in a few bytes: counts in logarithmic bins, so that quantiles have a bounded relative error and two
//! sketches add up to the sketch of both (after C. Masson, J. E. Rim and H. K. Lee, `DDSketch`, VLDB 2019).

/// The least time that is told apart, in milliseconds; what is quicker counts as this.
const LEAST: f64 = 0.01;
/// How many bins lie between [`LEAST`] and a hundred million times it, 1,000 seconds; what takes longer counts as that.
const BINS: u16 = 256;
/// The natural logarithm of a bin's upper bound divided by its lower one: ln(10⁸) / 256.
const STEP: f64 = 18.420_680_743_952_367 / 256.0;
/// Most bins that are kept. With more, neighbours are joined, which doubles the width of all (I. Epicoco et al.,
/// `UDDSketch`, IEEE Access 2020).
const MOST: usize = 64;
/// After so many doublings there are no more than [`MOST`] bins at all.
const COARSEST: u8 = 2;

/// A distribution of response times. At most 64 bins, at most 258 bytes for an hour of runs.
///
/// The relative error of a quantile is 3.6 %; times that spread over more than 64 bins, which is a factor of 100 with
/// every bin in use, have 7.2 %, at the very worst 14.2 %. [`Sketch::relative_error`] says which.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sketch {
    /// How often the width of the bins was doubled.
    doubled: u8,
    /// Bins and their counts, ascending; none is empty.
    bins: Vec<(u8, u32)>,
}

impl Sketch {
    /// Adds one response time, in milliseconds. What is no time is left out.
    pub fn add(&mut self, milliseconds: f64) {
        if milliseconds.is_nan() {
            return;
        }
        self.insert(bin_of(milliseconds) >> self.doubled, 1);
        self.shrink();
    }

    /// Adds all that another one holds.
    pub fn merge(&mut self, other: &Self) {
        while self.doubled < other.doubled {
            self.double();
        }
        for (bin, count) in &other.bins {
            self.insert(bin >> (self.doubled - other.doubled), *count);
        }
        self.shrink();
    }

    /// How many times it holds.
    pub fn count(&self) -> u64 {
        self.bins.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The time, in milliseconds, that a share of all times, 0 to 1, does not exceed: the nearest rank's. `None` when
    /// there are none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count fits")]
        let rank = ((share.clamp(0.0, 1.0) * count as f64 - 1e-9).ceil() as u64).max(1);
        let mut passed = 0;
        let bin = self.bins.iter().find(|(_, count)| {
            passed += u64::from(*count);
            passed >= rank
        });
        bin.map(|(bin, _)| self.middle(*bin))
    }

    /// By how much a quantile may differ from the true one, as a share of it.
    pub fn relative_error(&self) -> f64 {
        let ratio = self.width().exp();
        (ratio - 1.0) / (ratio + 1.0)
    }

    /// The value whose relative distance to both ends of a bin is the same.
    fn middle(&self, bin: u8) -> f64 {
        let lower = LEAST * (self.width() * f64::from(bin)).exp();
        let upper = lower * self.width().exp();
        2.0 * lower * upper / (lower + upper)
    }

    fn width(&self) -> f64 {
        STEP * f64::from(1_u8 << self.doubled)
    }

    fn insert(&mut self, bin: u8, count: u32) {
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(place) => {
                if let Some((_, kept)) = self.bins.get_mut(place) {
                    *kept = kept.saturating_add(count);
                }
            }
            Err(place) => self.bins.insert(place, (bin, count)),
        }
    }

    fn shrink(&mut self) {
        while self.bins.len() > MOST && self.doubled < COARSEST {
            self.double();
        }
    }

    fn double(&mut self) {
        self.doubled += 1;
        for (bin, _) in &mut self.bins {
            *bin >>= 1;
        }
        self.bins.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            same
        });
    }

    /// Appends it to `bytes`: the doublings, then for each bin its distance from the one before and its count.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.doubled);
        let mut before = 0;
        for (bin, count) in &self.bins {
            bytes.push(bin - before);
            before = *bin;
            push_number(bytes, *count);
        }
    }

    /// Reads what is left of `bytes`. `None` when that was never written by [`encode`](Self::encode).
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let (doubled, rest) = bytes.split_first()?;
        bytes = rest;
        let mut sketch = Self { doubled: *doubled, bins: Vec::new() };
        if *doubled > COARSEST {
            return None;
        }
        let last = u8::try_from((BINS >> doubled) - 1).ok()?;
        let mut before = 0_u8;
        while let Some((distance, rest)) = bytes.split_first() {
            bytes = rest;
            let bin = before.checked_add(*distance).filter(|bin| *bin <= last)?;
            let count = take_number(&mut bytes)?;
            let is_first = sketch.bins.is_empty();
            if count == 0 || (*distance == 0 && !is_first) || sketch.bins.len() >= MOST {
                return None;
            }
            sketch.bins.push((bin, count));
            before = bin;
        }
        Some(sketch)
    }
}

fn bin_of(milliseconds: f64) -> u8 {
    let bin = ((milliseconds / LEAST).max(1.0).ln() / STEP).min(f64::from(BINS - 1));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 255 by the two bounds")]
    let bin = bin as u8;
    bin
}

/// A number in as many groups of seven bits as it needs, the lowest first.
pub(super) fn push_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

/// Takes a number off the front of `bytes`.
pub(super) fn take_number(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0_u64;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(number).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch_of(times: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        for time in times {
            sketch.add(*time);
        }
        sketch
    }

    /// Times over the whole range, often close to each other, as real ones are.
    fn times() -> impl Strategy<Value = Vec<f64>> {
        let anywhere = prop::collection::vec((-4.6_f64..13.8).prop_map(f64::exp), 0..300);
        let close = (-4.0_f64..11.0, prop::collection::vec(0.0_f64..2.0, 0..300))
            .prop_map(|(middle, spread)| spread.into_iter().map(|by| (middle + by).exp()).collect());
        prop_oneof![anywhere, close]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn two_sketches_add_up_to_the_sketch_of_both(one in times(), other in times()) {
            let mut merged = sketch_of(&one);
            merged.merge(&sketch_of(&other));
            let both: Vec<f64> = one.into_iter().chain(other).collect();
            prop_assert_eq!(&merged, &sketch_of(&both));
            let mut bytes = Vec::new();
            merged.encode(&mut bytes);
            prop_assert!(bytes.len() <= 258);
            prop_assert_eq!(Sketch::decode(&bytes), Some(merged));
        }

        #[test]
        fn a_quantile_is_within_the_stated_error(mut times in times(), percent in 0_u8..=100) {
            let sketch = sketch_of(&times);
            times.sort_by(f64::total_cmp);
            let share = f64::from(percent) / 100.0;
            let rank = (usize::from(percent) * times.len()).div_ceil(100).max(1);
            match times.get(rank - 1) {
                None => prop_assert_eq!(sketch.quantile(share), None),
                Some(exact) => {
                    let estimate = sketch.quantile(share).unwrap();
                    let error = (estimate - exact).abs() / exact;
                    prop_assert!(error <= sketch.relative_error() + 1e-9, "{} for {}: {}", estimate, exact, error);
                }
            }
        }

        #[test]
        fn rubbish_is_no_sketch_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(sketch) = Sketch::decode(&bytes) {
                let mut again = Vec::new();
                sketch.encode(&mut again);
                prop_assert_eq!(Sketch::decode(&again), Some(sketch));
            }
        }
    }

    #[test]
    fn the_error_is_as_stated_and_ordinary_times_keep_the_least() {
        let narrow = sketch_of(&(20..=1000).map(f64::from).collect::<Vec<_>>());
        assert!((narrow.relative_error() - 0.036).abs() < 0.001, "{}", narrow.relative_error());
        let all: Vec<f64> = (0..256).map(|bin| LEAST * (STEP * (f64::from(bin) + 0.5)).exp()).collect();
        assert!((sketch_of(&all).relative_error() - 0.142).abs() < 0.001, "{}", sketch_of(&all).relative_error());
        assert_eq!(sketch_of(&all).bins.len(), MOST);
    }

    #[test]
    fn times_out_of_the_range_count_at_its_ends() {
        let sketch = sketch_of(&[-1.0, 0.0, f64::INFINITY, 1e300, f64::NAN]);
        assert_eq!(sketch.count(), 4);
        assert!(sketch.quantile(0.0).unwrap() < 0.011);
        assert!(sketch.quantile(1.0).unwrap() > 900_000.0);
    }
}
