//! What a difference says, and what it never says.

use proptest::prelude::*;

use super::*;
use crate::control::Imprint;

fn plain(path: &str, text: &str) -> Shown {
    Shown::written(path, text, text, "app.yaml:1:1")
}

#[test]
fn each_value_that_is_changed_new_or_gone_has_its_line() {
    let old = [plain("a", "1"), plain("gone", "x"), plain("same", "s"), plain("checks.db.interval", "5s")];
    let new = [plain("checks.db.interval", "10s"), plain("new", "${X}"), plain("a", ""), plain("same", "s")];
    assert_eq!(diff(&old, &new), ["~ checks.db.interval: 5s -> 10s", "+ new: ${X}", "~ a: 1 -> \"\"", "- gone: x"]);
    assert_eq!(diff(&new, &new), [""; 0]);
    assert_eq!(diff(&[], &[]), [""; 0]);
}

#[test]
fn where_a_value_comes_from_is_no_difference_and_defaults_are_named_only_where_they_take_a_place() {
    let default = |path: &str, text: &str| Shown::written(path, text, text, "default");
    let moved = [Shown::written("a", "1", "1", "environment APP_A")];
    assert_eq!(diff(&[plain("a", "1")], &moved), [""; 0]);
    assert_eq!(diff(&[plain("a", "1")], &[default("a", "1")]), [""; 0], "the default was written out");
    assert_eq!(diff(&[plain("a", "2")], &[default("a", "1")]), ["~ a: 2 -> 1 (default)"]);
    assert_eq!(diff(&[default("a", "1")], &[plain("a", "2")]), ["~ a: 1 -> 2"]);
    assert_eq!(diff(&[], &[default("checks.new.interval", "10s")]), [""; 0]);
    assert_eq!(diff(&[default("checks.old.interval", "10s")], &[]), [""; 0]);
}

#[test]
fn of_a_secret_it_is_told_that_it_changed_and_nothing_else() {
    let secret = |text: &str| Shown::secret("admin.key", text, "app.yaml:1:1");
    let short = diff(&[secret("x")], &[secret("hunter2")]);
    assert_eq!(short, ["~ admin.key: (secret changed)"]);
    assert_eq!(diff(&[secret("hunter2")], &[secret(&"y".repeat(1000))]), short, "nothing of its length");
    assert_eq!(diff(&[secret("hunter2")], &[secret("hunter2")]), [""; 0]);
    assert_eq!(diff(&[], &[secret("hunter2")]), ["+ admin.key: (secret)"]);
    assert_eq!(diff(&[secret("hunter2")], &[]), ["- admin.key: (secret)"]);
    let reference = Shown::written("admin.key", "${KEY}", "hunter2", "app.yaml:1:1");
    assert_eq!(diff(&[secret("hunter2")], &[reference]), ["~ admin.key: (secret) -> ${KEY}"]);
}

#[test]
fn a_secret_that_only_its_look_gives_away_is_hidden_too() {
    let old = [plain("a.password", "one"), plain("url", "redis://u:one@h/1"), plain("same", "redis://u:one@h/1")];
    let new = [plain("a.password", "two"), plain("url", "redis://u:one@h/2"), plain("same", "redis://u:two@h/1")];
    let expected = [
        "~ a.password: (secret changed)",
        "~ url: redis://…@h/1 -> redis://…@h/2",
        "~ same: redis://…@h/1 (its value changed)",
    ];
    assert_eq!(diff(&old, &new), expected);
    let by_hand = Shown {
        path: "a.password".into(),
        value: ShownValue::Written("hunter2".into()),
        origin: String::new(),
        imprint: Imprint::of("hunter2"),
    };
    assert_eq!(diff(&[], &[by_hand]), ["+ a.password: (secret)"]);
}

#[test]
fn a_variable_that_holds_something_else_is_a_difference_that_shows_neither() {
    let of = |filled: &str| [Shown::written("url", "${REDIS_URL}", filled, "app.yaml:1:1")];
    assert_eq!(diff(&of("redis://one"), &of("redis://two")), ["~ url: ${REDIS_URL} (its value changed)"]);
    assert_eq!(diff(&of("redis://one"), &of("redis://one")), [""; 0]);
}

#[test]
fn an_imprint_cannot_be_printed() {
    let shown = Shown::secret("a", "hunter2", "app.yaml:1:1");
    insta::assert_snapshot!(
        format!("{shown:?}"),
        @r#"Shown { path: "a", value: Secret, origin: "app.yaml:1:1", imprint: Imprint(..) }"#
    );
}

#[test]
fn lines_are_bounded_in_number_and_length_and_hold_no_control_characters() {
    let many = |text: &str| (0..500).map(|number| plain(&format!("key-{number}"), text)).collect::<Vec<_>>();
    let lines = diff(&many("1"), &many("2"));
    assert_eq!(lines.len(), MAX_DIFF_LINES + 1);
    assert_eq!(lines.last().map(String::as_str), Some("… and 300 more"));
    let long = diff(&[], &[plain("a", &"é\u{1b}[31m\n".repeat(1000))]);
    assert_eq!(long.len(), 1);
    assert!(long[0].chars().count() < 2000 && long[0].ends_with('…'), "{}", long[0]);
    assert!(long[0].starts_with(r"+ a: é\u{1b}[31m\né"), "{}", long[0]);
    assert!(diff(&[], &[plain("a\nb", "1")])[0].starts_with(r"+ a\nb: 1"));
}

proptest! {
    #[test]
    fn there_is_a_line_for_exactly_what_differs(
        old in prop::collection::btree_map("[a-d]", "[01]", 0..5),
        new in prop::collection::btree_map("[a-d]", "[01]", 0..5),
    ) {
        let shown = |all: &std::collections::BTreeMap<String, String>| {
            all.iter().map(|(path, text)| plain(path, text)).collect::<Vec<_>>()
        };
        let lines = diff(&shown(&old), &shown(&new));
        let paths: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let differing = paths.into_iter().filter(|path| old.get(*path) != new.get(*path)).count();
        prop_assert_eq!(lines.len(), differing);
        for line in lines {
            let (sign, path) = (&line[..1], &line[2..3]);
            let expected = match (old.contains_key(path), new.contains_key(path)) {
                (true, true) => "~",
                (false, _) => "+",
                (true, false) => "-",
            };
            prop_assert_eq!(sign, expected);
        }
    }
}
