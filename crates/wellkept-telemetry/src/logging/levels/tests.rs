//! Claims about which events are logged, and about levels that end.

use proptest::prelude::*;
use serde_json::Value;
use tracing::{debug, error, info, warn};

use super::*;
use crate::logging::{Format, Options, SinkOptions};
use crate::memory::Memory;

const MINUTE: Duration = Duration::from_secs(60);

fn levels(modules: &[(&str, Level)]) -> Levels {
    let modules: Vec<(String, Level)> = modules.iter().map(|(module, level)| ((*module).to_owned(), *level)).collect();
    Levels::new(Level::Info, &modules).unwrap()
}

fn change(module: Option<&str>, level: Level, lasts: Option<Duration>) -> LevelChange {
    let (by, reason) = ("ann".to_owned(), "to see".to_owned());
    LevelChange { module: module.map(str::to_owned), level, lasts, by, reason }
}

/// Of a target, and after so much time.
fn level_of(levels: &Levels, target: &str) -> Level {
    levels.table.load().level_of(target)
}

#[test]
fn the_longest_module_that_fits_decides_and_fits_whole_parts_only() {
    let levels = levels(&[("sqlx", Level::Warning), ("sqlx::query", Level::Debug), ("h2", Level::Critical)]);
    for (target, wanted) in [
        ("sqlx", Level::Warning),
        ("sqlx::pool", Level::Warning),
        ("sqlx::query", Level::Debug),
        ("sqlx::query::deep", Level::Debug),
        ("sqlx::query_as", Level::Warning),
        ("sqlx_core", Level::Info),
        ("h2o", Level::Info),
        ("h2::frame", Level::Critical),
        ("orders", Level::Info),
        ("", Level::Info),
    ] {
        assert_eq!(level_of(&levels, target), wanted, "{target}");
        for level in Level::ALL {
            assert_eq!(levels.wants_level(target, level), level >= wanted, "{target} {level}");
        }
    }
    assert_eq!(levels.filter(), LevelFilter::DEBUG);
}

#[test]
fn a_level_for_a_while_ends_by_itself_and_the_former_one_returns() {
    let levels = levels(&[("sqlx", Level::Warning)]);
    let start = Duration::from_secs(1000);
    levels.change(change(Some("sqlx"), Level::Error, None), start).unwrap();
    let before = levels.change(change(Some("sqlx"), Level::Debug, Some(10 * MINUTE)), start).unwrap().before;
    assert_eq!(before, Level::Error);
    levels.change(change(None, Level::Trace, Some(MINUTE)), start).unwrap();
    assert_eq!((level_of(&levels, "sqlx::x"), levels.level()), (Level::Debug, Level::Trace));

    assert!(levels.tend(start + Duration::from_millis(59_999)).is_empty());
    let ended = levels.tend(start + MINUTE);
    assert_eq!(ended, [Ended { module: None, was: Level::Trace, level: Level::Info }]);
    assert_eq!((level_of(&levels, "sqlx::x"), levels.level()), (Level::Debug, Level::Info));
    // However long the machine slept.
    let ended = levels.tend(start + Duration::from_secs(24 * 3600));
    assert_eq!(ended, [Ended { module: Some("sqlx".to_owned()), was: Level::Debug, level: Level::Error }]);
    assert_eq!(level_of(&levels, "sqlx"), Level::Error);
    assert!(levels.tend(start + Duration::from_secs(48 * 3600)).is_empty());
    assert!(levels.reset(Some("sqlx"), start));
    assert!(!levels.reset(Some("sqlx"), start), "there is nothing left");
    assert_eq!(level_of(&levels, "sqlx"), Level::Warning);
}

#[test]
fn the_last_word_counts_also_over_one_that_would_have_ended() {
    let levels = levels(&[]);
    let start = Duration::ZERO;
    levels.change(change(None, Level::Debug, Some(MINUTE)), start).unwrap();
    levels.change(change(None, Level::Warning, None), start).unwrap();
    assert_eq!(levels.level(), Level::Warning);
    assert!(levels.tend(start + 2 * MINUTE).is_empty());
    assert_eq!(levels.level(), Level::Warning);
    assert_eq!(levels.reset_all(start), 1);
    assert_eq!(levels.level(), Level::Info);
}

#[test]
fn a_configuration_that_says_something_else_ends_what_lasts_and_nothing_more() {
    let levels = levels(&[("sqlx", Level::Warning), ("h2", Level::Warning)]);
    let start = Duration::ZERO;
    for module in [None, Some("sqlx"), Some("h2"), Some("orders")] {
        levels.change(change(module, Level::Debug, None), start).unwrap();
    }
    levels.change(change(Some("tower"), Level::Debug, Some(MINUTE)), start).unwrap();
    let modules = [("sqlx", Level::Error), ("h2", Level::Warning), ("tower", Level::Error)];
    let modules = modules.map(|(module, level)| (module.to_owned(), level));
    levels.configure(Level::Info, &modules, start).unwrap();
    let now: Vec<Level> = ["x", "sqlx", "h2", "orders", "tower"].map(|target| level_of(&levels, target)).into();
    assert_eq!(now, [Level::Debug, Level::Error, Level::Debug, Level::Debug, Level::Debug]);
    levels.configure(Level::Warning, &modules, start).unwrap();
    assert_eq!(levels.level(), Level::Warning);
    levels.tend(start + MINUTE);
    assert_eq!(level_of(&levels, "tower"), Level::Error);
    let wrong = levels.configure(Level::Trace, &[("a b".to_owned(), Level::Info)], start);
    assert_eq!((wrong, levels.level()), (Err(LevelError::Module), Level::Warning), "nothing is changed");
}

#[test]
fn what_is_beyond_the_limits_is_refused_in_words() {
    let levels = levels(&[]);
    let refused = |change| levels.change(change, Duration::ZERO).unwrap_err();
    let long = "m".repeat(MAX_MODULE_BYTES + 1);
    for module in ["", "::", "sqlx::", "::sqlx", "a::::b", "a:b:", "a b", "a\nb", "ü", "a\u{0}", "\u{202e}", &long] {
        assert_eq!(refused(change(Some(module), Level::Debug, None)), LevelError::Module, "{module:?}");
    }
    for lasts in [Duration::ZERO, Duration::from_millis(999), LONGEST_LEVEL_CHANGE + MINUTE, Duration::MAX] {
        assert_eq!(refused(change(None, Level::Debug, Some(lasts))), LevelError::Duration, "{lasts:?}");
    }
    for text in ["a\nb", "a\u{2028}b", "\u{1b}[2J", &"x".repeat(201)] {
        let by = LevelChange { by: text.to_owned(), ..LevelChange::default() };
        let reason = LevelChange { reason: text.to_owned(), ..LevelChange::default() };
        assert_eq!((refused(by), refused(reason)), (LevelError::Text, LevelError::Text), "{text:?}");
    }
    assert!(levels.rules(Duration::ZERO).iter().all(|rule| rule.set.is_none()), "nothing was changed");
    assert_eq!(LevelError::Duration.to_string(), "a level may be set for 1s to 7 days, or without an end");
    assert_eq!(
        LevelError::TooManyChanges.to_string(),
        "at most 32 levels may be set at run time: take some back first"
    );
}

#[test]
fn the_number_of_modules_is_bounded() {
    let many: Vec<(String, Level)> = (0..=MAX_MODULES).map(|number| (format!("m{number}"), Level::Debug)).collect();
    assert_eq!(Levels::new(Level::Info, &many).unwrap_err(), LevelError::TooManyModules);
    let levels = levels(&[]);
    for (module, _) in many.iter().take(MAX_LEVEL_CHANGES) {
        levels.change(change(Some(module), Level::Debug, Some(MINUTE)), Duration::ZERO).unwrap();
    }
    let next = change(Some("one_more"), Level::Debug, None);
    assert_eq!(levels.change(next.clone(), Duration::ZERO), Err(LevelError::TooManyChanges));
    levels.change(change(Some("m0"), Level::Error, None), Duration::ZERO).unwrap();
    levels.tend(MINUTE);
    levels.change(next, MINUTE).unwrap();
}

#[test]
fn what_is_shown_says_who_why_and_until_when() {
    let levels = levels(&[("sqlx", Level::Warning)]);
    levels.change(change(Some("sqlx"), Level::Debug, Some(MINUTE)), Duration::ZERO).unwrap();
    levels.change(change(Some("h2"), Level::Error, None), Duration::ZERO).unwrap();
    let rules = levels.rules(Duration::from_secs(20));
    let names: Vec<_> = rules.iter().map(|rule| (rule.module.as_deref(), rule.level, rule.configured)).collect();
    assert_eq!(
        names,
        [
            (None, Level::Info, Some(Level::Info)),
            (Some("h2"), Level::Error, None),
            (Some("sqlx"), Level::Debug, Some(Level::Warning))
        ]
    );
    let set = rules[2].set.clone().unwrap();
    assert_eq!((set.by.as_str(), set.reason.as_str()), ("ann", "to see"));
    assert_eq!(set.left, Some(Duration::from_secs(40)));
    let ends = set.ends.unwrap().as_second() - Timestamp::now().as_second();
    assert!((38..=40).contains(&ends), "{ends}");
    let lasting = rules[1].set.clone().unwrap();
    assert_eq!((lasting.left, lasting.ends), (None, None));
}

fn options(memory: &Memory) -> Options {
    Options::to(SinkOptions::writer(Format::Json, memory.clone()))
}

fn messages(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["message"].as_str()).collect()
}

#[test]
fn a_module_logs_more_for_a_while_and_the_log_says_who_wanted_it() {
    let memory = Memory::default();
    let lines = memory.logged(options(&memory), |logging| {
        let query = |round| debug!(target: "sqlx::query", round, "query");
        query(1);
        logging.change_level(change(Some("sqlx"), Level::Debug, Some(10 * MINUTE))).unwrap();
        query(2);
        debug!(target: "orders", "not asked for");
        let later = super::super::upkeep::boot() + 11 * MINUTE;
        assert_eq!(logging.upkeep.levels.tend(later).len(), 1);
        assert!(!tracing::enabled!(target: "sqlx::query", tracing::Level::DEBUG));
        query(3);
        logging.set_level(Level::Critical);
        logging.change_level(change(None, Level::Debug, None)).unwrap();
        assert!(logging.reset_level(None, "bob").unwrap());
    });
    assert_eq!(
        messages(&lines),
        ["a level was set", "query", "a level was set", "a level is the configured one again"],
        "what the log says of itself passes every level"
    );
    assert_eq!(lines[1]["round"], 2);
    let told = &lines[0];
    let fields = ["module", "log_level", "was", "by", "reason", "target"].map(|name| told[name].as_str().unwrap());
    assert_eq!(fields, ["sqlx", "debug", "info", "ann", "to see", "wellkept::log"]);
    assert_eq!(told["seconds"], 600);
}

#[test]
fn a_module_can_be_quieter_than_the_rest_and_only_critical() {
    let memory = Memory::default();
    let modules = vec![("noisy".to_owned(), Level::Critical), ("noisy::part".to_owned(), Level::Error)];
    let lines = memory.logged(Options { modules, ..options(&memory) }, |_| {
        warn!(target: "noisy", "left out");
        error!(target: "noisy", "left out");
        error!(target: "noisy", severity = "error", "left out");
        crate::critical!(target: "noisy", "critical");
        error!(target: "noisy::part", severity = "error", "error");
        info!(target: "noisy_not", "other");
    });
    assert_eq!(messages(&lines), ["critical", "error", "other"]);
}

#[test]
fn a_writers_thread_ends_what_is_over() {
    let memory = Memory::default();
    let lasts = Some(SHORTEST_LEVEL_CHANGE);
    let (_subscriber, logging) = crate::logging::subscriber(options(&memory)).unwrap();
    logging.change_level(LevelChange { level: Level::Debug, lasts, ..LevelChange::default() }).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while logging.level() == Level::Debug {
        assert!(std::time::Instant::now() < end, "it goes on");
        std::thread::yield_now();
    }
    assert_eq!(logging.level(), Level::Info);
}

proptest! {
    /// Whatever is ordered in whichever sequence, what is compared is what a plain reading of the rules gives.
    #[test]
    fn the_levels_in_force_are_those_of_the_rules(orders in proptest::collection::vec(
        (0..4_u8, proptest::option::of(0..3_usize), 0..6_usize, 1..100_u64), 0..40,
    )) {
        const MODULES: [&str; 3] = ["a", "a::b", "a::b::c"];
        let levels = levels(&[("a::b", Level::Error)]);
        let mut lasting = BTreeMap::new();
        let mut timed: BTreeMap<Option<usize>, (Level, u64)> = BTreeMap::new();
        let mut now = 0;
        for (kind, module, level, seconds) in orders {
            let (level, at) = (Level::ALL[level], Duration::from_secs(now));
            let name = module.map(|index| MODULES[index]);
            match kind {
                0 => {
                    levels.change(change(name, level, None), at).unwrap();
                    lasting.insert(module, level);
                    timed.remove(&module);
                }
                1 => {
                    levels.change(change(name, level, Some(Duration::from_secs(seconds))), at).unwrap();
                    timed.insert(module, (level, now + seconds));
                }
                2 => {
                    levels.reset(name, at);
                    lasting.remove(&module);
                    timed.remove(&module);
                }
                _ => {
                    now += seconds;
                    levels.tend(Duration::from_secs(now));
                    timed.retain(|_, (_, end)| *end > now);
                }
            }
            let own = |module: Option<usize>| {
                let configured = [(None, Level::Info), (Some(1), Level::Error)];
                let set = timed.get(&module).map(|(level, _)| *level).or_else(|| lasting.get(&module).copied());
                set.or_else(|| configured.iter().find(|(known, _)| *known == module).map(|(_, level)| *level))
            };
            for (depth, target) in ["x", "a::x", "a::b::x", "a::b::c"].into_iter().enumerate() {
                let wanted = (0..depth).rev().find_map(|index| own(Some(index))).or_else(|| own(None)).unwrap();
                prop_assert_eq!(level_of(&levels, target), wanted, "{}", target);
            }
        }
    }
}
