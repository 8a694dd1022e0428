//! When a change counts: the decision alone, without clock, files or tasks.

use std::time::Duration;

use tokio::time::Instant;

use super::{Look, Told, WatchOptions};

/// How long a file of several may be gone because it is being replaced.
const MOMENT: Duration = Duration::from_secs(2);

/// What to do after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing differs.
    Rest,
    /// Something differs: look again after this time.
    Again(Duration),
    /// It has differed for long enough.
    Act(Look),
}

/// What is known of the files, and what they may be on their way to.
#[derive(Debug)]
pub(super) struct Settling {
    options: WatchOptions,
    /// What was acted upon last.
    known: Look,
    coming: Option<Coming>,
}

/// What the files have said since they differ from what is known.
#[derive(Debug)]
struct Coming {
    look: Look,
    /// When it was seen first.
    since: Instant,
    /// Since when nothing came to rest.
    restless_since: Instant,
    told: bool,
}

impl Settling {
    pub(super) fn new(known: Look, options: WatchOptions) -> Self {
        Self { options, known, coming: None }
    }

    pub(super) fn step(&mut self, now: Instant, look: Look) -> Step {
        if look == self.known {
            self.coming = None;
            return Step::Rest;
        }
        let patience = self.patience(&look);
        match &mut self.coming {
            Some(coming) if coming.look == look => {
                let seen = now.saturating_duration_since(coming.since);
                if seen >= patience { Step::Act(look) } else { Step::Again(patience.saturating_sub(seen)) }
            }
            Some(coming) => {
                coming.look = look;
                coming.since = now;
                let restless = now.saturating_duration_since(coming.restless_since);
                if restless >= self.options.poll && !std::mem::replace(&mut coming.told, true) {
                    tracing::warn!(
                        target: "wellkept::config",
                        "the files that are watched change all the time; they are left alone until they come to rest"
                    );
                }
                Step::Again(patience)
            }
            None => {
                self.coming = Some(Coming { look, since: now, restless_since: now, told: false });
                Step::Again(patience)
            }
        }
    }

    /// For how long it must be said.
    fn patience(&self, look: &Look) -> Duration {
        let WatchOptions { poll, settle } = self.options;
        match (look, &self.known) {
            // Whoever saves a file may take it away, or empty it, for a moment.
            (Look::Emptied(_) | Look::Gone(_), _) => poll,
            (Look::Content { files, .. }, Look::Content { files: known, .. }) if files < known => {
                settle.max(MOMENT.min(poll))
            }
            _ => settle,
        }
    }

    /// What became of acting.
    pub(super) fn acted(&mut self, told: Told) {
        match told {
            Told::Taken(look) => {
                self.known = look;
                self.coming = None;
            }
            // What is coming has settled already: the next look finds it so.
            Told::Later => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::content::ContentHash;

    const OPTIONS: WatchOptions = WatchOptions { poll: Duration::from_secs(30), settle: Duration::from_millis(200) };

    fn content(number: u8) -> Look {
        Look::Content { hash: ContentHash([number; 32]), files: 1 }
    }

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_change_counts_when_it_is_the_same_after_the_time_to_settle() {
        let (start, mut settling) = (Instant::now(), Settling::new(content(0), OPTIONS));
        assert_eq!(settling.step(start, content(0)), Step::Rest);
        assert_eq!(settling.step(start, content(1)), Step::Again(OPTIONS.settle));
        assert_eq!(settling.step(after(start, 150), content(1)), Step::Again(Duration::from_millis(50)));
        assert_eq!(settling.step(after(start, 200), content(2)), Step::Again(OPTIONS.settle), "half of it was read");
        assert_eq!(settling.step(after(start, 400), content(2)), Step::Act(content(2)));
        settling.acted(Told::Taken(content(2)));
        assert_eq!(settling.step(after(start, 600), content(2)), Step::Rest, "tried once");
        assert_eq!(settling.step(after(start, 800), content(0)), Step::Again(OPTIONS.settle), "back is a change too");
    }

    #[test]
    fn what_is_gone_or_empty_counts_after_the_longer_time_only() {
        for gone in [Look::Gone("gone".to_owned()), Look::Emptied(ContentHash([9; 32]))] {
            let (start, mut settling) = (Instant::now(), Settling::new(content(0), OPTIONS));
            assert_eq!(settling.step(start, gone.clone()), Step::Again(OPTIONS.poll));
            assert_eq!(settling.step(after(start, 1000), content(0)), Step::Rest, "it is back");
            settling.step(after(start, 2000), gone.clone());
            assert!(matches!(settling.step(after(start, 31_999), gone.clone()), Step::Again(_)));
            assert_eq!(settling.step(after(start, 32_000), gone.clone()), Step::Act(gone));
        }
    }

    #[test]
    fn a_file_less_counts_after_a_moment_and_one_more_at_once() {
        let of = |files: usize| Look::Content { hash: ContentHash([u8::try_from(files).unwrap(); 32]), files };
        let (start, mut settling) = (Instant::now(), Settling::new(of(3), OPTIONS));
        assert_eq!(settling.step(start, of(2)), Step::Again(MOMENT));
        assert_eq!(settling.step(after(start, 1000), of(3)), Step::Rest);
        assert_eq!(settling.step(after(start, 2000), of(4)), Step::Again(OPTIONS.settle));
    }

    #[test]
    fn what_could_not_be_dealt_with_is_told_again() {
        let (start, mut settling) = (Instant::now(), Settling::new(content(0), OPTIONS));
        settling.step(start, content(1));
        assert_eq!(settling.step(after(start, 200), content(1)), Step::Act(content(1)));
        settling.acted(Told::Later);
        assert_eq!(settling.step(after(start, 30_200), content(1)), Step::Act(content(1)));
    }

    proptest! {
        // Whatever is seen and when: what is acted upon was seen twice, at least so far apart, with nothing else seen
        // between; and nothing is acted upon twice in a row.
        #[test]
        fn only_what_rested_is_acted_upon(looks in prop::collection::vec((0_u8..4, 0_u64..400), 1..200)) {
            let (mut now, mut settling) = (Instant::now(), Settling::new(content(0), OPTIONS));
            let (mut run, mut last_acted) = ((content(0), now), content(0));
            for (number, pause) in looks {
                now += Duration::from_millis(pause);
                let look = if number == 3 { Look::Gone(String::new()) } else { content(number) };
                if run.0 != look {
                    run = (look.clone(), now);
                }
                let rested = now - run.1;
                let patience = if number == 3 { OPTIONS.poll } else { OPTIONS.settle };
                match settling.step(now, look.clone()) {
                    Step::Rest => prop_assert_eq!(&look, &last_acted),
                    Step::Again(after) => {
                        prop_assert!(rested < patience);
                        prop_assert_eq!(after + rested, patience);
                    }
                    Step::Act(acted) => {
                        prop_assert!(rested >= patience && acted == look && acted != last_acted);
                        last_acted = acted.clone();
                        settling.acted(Told::Taken(acted));
                    }
                }
            }
        }
    }
}
