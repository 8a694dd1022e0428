//! Which versions are forgotten and which never.

use proptest::prelude::*;

use super::*;

fn kept(ids: impl IntoIterator<Item = u64>, outcome: impl Fn(u64) -> OutcomeKind, bytes: u64) -> Vec<Kept> {
    ids.into_iter().map(|id| Kept { id: VersionId(id), outcome: outcome(id), bytes }).collect()
}

#[test]
fn words_come_back_as_what_they_stand_for() {
    let words = Trigger::ALL.map(Trigger::as_str);
    assert_eq!(words, ["start", "signal", "api", "watch", "code", "probation"]);
    let words = OutcomeKind::ALL.map(OutcomeKind::as_str);
    assert_eq!(words, ["applied", "unchanged", "rejected", "rolled_back", "restart_required"]);
}

#[test]
fn the_oldest_go_and_refused_attempts_take_no_place_from_those_that_ran() {
    let ran = kept((1..=5).rev(), |_| OutcomeKind::Applied, 1);
    assert_eq!(forgotten(&ran, 3), [VersionId(2), VersionId(1)]);
    assert_eq!(forgotten(&ran, 5), []);
    // A storm of refusals after two that ran.
    let storm = kept((1..=1000).rev(), |id| if id <= 2 { OutcomeKind::Applied } else { OutcomeKind::Rejected }, 1);
    let gone = forgotten(&storm, 3);
    assert_eq!(gone.len(), 995);
    assert!(!gone.contains(&VersionId(1)) && !gone.contains(&VersionId(2)) && !gone.contains(&VersionId(998)));
}

#[test]
fn much_text_is_forgotten_early_and_the_one_that_runs_never() {
    let large = kept((1..=5).rev(), |_| OutcomeKind::Applied, MAX_VERSIONS_BYTES / 2);
    assert_eq!(forgotten(&large, 50), [VersionId(3), VersionId(2), VersionId(1)]);
    let huge = kept([2, 1], |id| if id == 1 { OutcomeKind::Applied } else { OutcomeKind::Rejected }, u64::MAX);
    assert_eq!(forgotten(&huge, 0), [], "the newest, and the newest that runs");
}

proptest! {
    #[test]
    fn what_is_kept_is_bounded_and_always_has_the_newest_and_the_newest_that_runs(
        all in prop::collection::vec((0..5_usize, 0..6_u64 << 20), 1..40), keep in 0..10_usize,
    ) {
        let all: Vec<Kept> = all.iter().zip((1..).map(VersionId)).map(|((outcome, bytes), id)| {
            Kept { id, outcome: OutcomeKind::ALL[*outcome], bytes: *bytes }
        }).collect::<Vec<_>>().into_iter().rev().collect();
        let gone = forgotten(&all, keep);
        let left: Vec<Kept> = all.iter().filter(|one| !gone.contains(&one.id)).copied().collect();
        let newest = |all: &[Kept]| all.iter().find(|one| one.outcome.runs()).map(|one| one.id);
        prop_assert_eq!(left[0].id, all[0].id);
        prop_assert_eq!(newest(&left), newest(&all));
        let ran = left.iter().filter(|one| one.outcome.runs()).count();
        prop_assert!(ran <= keep.max(1) && left.len() - ran <= keep.max(1));
        let rest = left.iter().skip(1).filter(|one| Some(one.id) != newest(&left)).map(|one| one.bytes);
        prop_assert!(rest.sum::<u64>() <= MAX_VERSIONS_BYTES);
    }
}
