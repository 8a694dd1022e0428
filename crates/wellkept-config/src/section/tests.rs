//! What the walk reports, and what it keeps quiet about.

use std::time::Duration;

use secrecy::SecretString;

use super::Section;
use crate::{Diagnostics, Document, Position};

/// Everything that reading `text` reports, one error a line; `ok` when nothing.
fn errors<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> String {
    match Document::parse("f.yaml", text).and_then(|document| document.read(read)) {
        Ok(_) => "ok".to_owned(),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

fn codes(diagnostics: &Diagnostics) -> Vec<&str> {
    diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
}

/// A reader as the documentation recommends it: everything is asked for before anything is given up.
fn thorough(section: &mut Section<'_>) -> Option<(String, Duration, u16)> {
    let name = section.required("name");
    let timeout = section.required("timeout");
    let port = section.required("port");
    section.complete();
    Some((name?, timeout?, port?))
}

/// A reader that gives up at the first error.
fn hasty(section: &mut Section<'_>) -> Option<(String, Duration, u16)> {
    Some((section.required("name")?, section.required("timeout")?, section.required("port")?))
}

#[test]
fn all_errors_are_found_in_one_pass_and_sorted_by_position() {
    let text = "timeot: 2s\nport: 70000\nname: [a]\ncolour: red\n";
    insta::assert_snapshot!(errors(text, thorough), @"
    f.yaml:1:1: missing key `timeout`: expected a duration such as 10s or 250ms
    f.yaml:1:1: unknown key `timeot`, did you mean `timeout`?
    f.yaml:2:7: expected a whole number such as 8080, found `70000` (from 0 to 65535)
    f.yaml:3:7: expected text, found a list
    f.yaml:4:1: unknown key `colour`
    ");
}

#[test]
fn a_hasty_reader_does_not_call_keys_unknown_that_it_did_not_come_to() {
    let text = "nam: orders\ntimeout: 1s\nport: 80\nextra: 1\n";
    insta::assert_snapshot!(errors(text, hasty), @"
    f.yaml:1:1: missing key `name`: expected text
    f.yaml:1:1: unknown key `nam`, did you mean `name`?
    ");
    insta::assert_snapshot!(errors("name: a\ntimeout: 1\nport: 80\n", hasty), @"f.yaml:2:10: expected a duration such as 10s or 250ms, found `1` (add a unit: 1s?)");
}

#[test]
fn a_hasty_reader_that_declares_its_keys_up_front_reports_all_unknown_ones() {
    let text = "timeout: 1s\nport: 80\nextra: 1\n";
    let found = errors(text, |section| {
        section.known(&["name", "timeout", "port"]);
        section.complete();
        hasty(section)
    });
    insta::assert_snapshot!(found, @"
    f.yaml:1:1: missing key `name`: expected text
    f.yaml:3:1: unknown key `extra`
    ");
}

#[test]
fn a_failed_list_with_a_good_last_item_still_counts_as_the_last_failure() {
    let found = errors("items: [{n: x}, {n: 1}]\nport: 80\n", |section| {
        let items = section.list("items", |item| item.required::<u16>("n"))?;
        let port: u16 = section.required("port")?;
        Some((items, port))
    });
    insta::assert_snapshot!(found, @"f.yaml:1:13: expected a whole number such as 8080, found `x`");
}

#[test]
fn sections_lists_and_free_keys_are_read_with_their_positions() {
    let text = "db: { url: x, headers: { b: 1, a: two } }\nchecks:\n  - name: one\n  - { name: two }\nempty:\n";
    let document = Document::parse("f.yaml", text).expect("valid");
    let read = document.read(|section| {
        let db = section.section("db", |db| {
            let url = db.required::<String>("url");
            let headers = db.entries("headers")?;
            let headers: Vec<_> = headers
                .into_iter()
                .filter_map(|(key, position, node)| Some((key, position, db.value::<String>(node)?)))
                .collect();
            Some((url?, headers))
        });
        let names = section.list("checks", |check| Some((check.required::<String>("name")?, check.position())));
        let empty = section.section("empty", |empty| Some(empty.keys().count()));
        let absent = section.section("absent", |_| Some(()));
        let mut later = section.list("later", |_| Some(()));
        Some((db?, names?, empty, absent, later.take()))
    });
    let at = |line, column| Position::new(line, column);
    let headers = vec![("b".to_owned(), at(1, 26), "1".to_owned()), ("a".to_owned(), at(1, 32), "two".to_owned())];
    let names = vec![("one".to_owned(), at(3, 5)), ("two".to_owned(), at(4, 5))];
    assert_eq!(read.expect("valid"), (("x".to_owned(), headers), names, Some(0), None, None));
}

#[test]
fn what_is_not_a_mapping_or_a_list_is_refused_as_one() {
    let text = "a: 1\nb: [x]\nc: {d: 1}\ne: [1]\ng: text\n";
    let found = errors(text, |section| {
        let _: [Option<()>; 2] = ["a", "b"].map(|key| section.section(key, |_| Some(())));
        let _: [Option<Vec<()>>; 2] = ["c", "e"].map(|key| section.list(key, |_| Some(())));
        section.entries("g").map(|_| ())
    });
    insta::assert_snapshot!(found, @"
    f.yaml:1:4: expected a mapping such as `key: value`, found a single value
    f.yaml:2:4: expected a mapping such as `key: value`, found a list
    f.yaml:3:4: expected a list of mappings, each after a `- `, found a mapping
    f.yaml:4:5: expected a mapping such as `key: value`, found a single value
    f.yaml:5:4: expected a mapping, found a single value
    ");
    insta::assert_snapshot!(errors("- a\n", |_| Some(())), @"f.yaml:1:1: expected a mapping such as `key: value`, found a list");
}

#[test]
fn a_kind_that_is_known_at_run_time_is_opened_or_reported_with_the_nearest() {
    let read = |section: &mut Section<'_>| {
        section.list("checks", |check| {
            let name: Option<String> = check.required("name");
            let (kind, position) = check.keys().find(|(key, _)| *key != "name").map(|(k, p)| (k.to_owned(), p))?;
            if kind != "postgres" {
                check.report_unknown(position, "check kind", &kind, &["postgres", "redis"]);
                return name;
            }
            let url = check.open(&kind, |settings| settings.required::<String>("url"));
            Some(name? + &url?)
        })
    };
    let text = "checks:\n  - name: a\n    postgres: { url: x }\n  - name: b\n    postgress: { url: x }\n  - name: c\n    postgres: { ur: x }\n";
    insta::assert_snapshot!(errors(text, read), @"
    f.yaml:5:5: unknown check kind `postgress`, did you mean `postgres`?
    f.yaml:7:15: missing key `url` in `postgres`: expected text
    f.yaml:7:17: unknown key `ur` in `postgres`, did you mean `url`?
    ");
}

#[test]
fn a_key_that_is_there_is_suggested_only_when_no_missing_one_is_near() {
    let found = errors("fall: 1\nfalls: 2\n", |section| Some(section.or("fall", 3_u32) + section.or("falls_", 1)));
    insta::assert_snapshot!(found, @"f.yaml:2:1: unknown key `falls`, did you mean `falls_`?");
    let found = errors("fall: 1\nfalls: 2\n", |section| Some(section.or("fall", 3_u32)));
    insta::assert_snapshot!(found, @"f.yaml:2:1: unknown key `falls`, did you mean `fall`?");
}

#[test]
fn a_key_without_a_value_is_not_the_same_as_no_key() {
    insta::assert_snapshot!(errors("timeout:\n", |section| Some(section.or("timeout", Duration::ZERO))), @"f.yaml:1:1: expected a duration such as 10s or 250ms, found nothing");
    assert_eq!(errors("a: 1\n", |section| Some((section.or("a", 2_u16), section.or("timeout", Duration::ZERO)))), "ok");
}

#[test]
fn missing_variables_are_reported_together_with_everything_else() {
    let text = "name: ${NAME}\ntimeout: 5\nport: \"${PORT}\"\nname: again\n";
    let document = Document::parse_deferring("f.yaml", text).expect("readable");
    let lookup = |name: &str| (name == "PORT").then(|| "hunter2".to_owned());
    let diagnostics = document.interpolate_deferring(&lookup).read(thorough).expect_err("wrong");
    insta::assert_snapshot!(diagnostics, @"
    f.yaml:1:7: the variable `NAME` is not set: set it, or write ${NAME:-default}
    f.yaml:2:10: expected a duration such as 10s or 250ms, found `5` (add a unit: 5s?)
    f.yaml:3:7: expected a whole number such as 8080, found `${PORT}`
    f.yaml:4:1: `name` is given twice, first on line 1
    ");
    assert_eq!(
        codes(&diagnostics),
        ["config.missing_variable", "config.wrong_type", "config.wrong_type", "config.duplicate_key"]
    );
}

#[test]
fn secrets_are_never_shown() {
    let found = errors("token: { hunter2: hunter2 }\nport: 1\n", |section| {
        let port: Option<u16> = section.required("port");
        section.required::<SecretString>("token").map(|_| port)
    });
    insta::assert_snapshot!(found, @"f.yaml:1:8: expected text that is kept secret, found a mapping");
    let found = errors("database: postgres://orders:hunter/2@db:99999/orders?password=hunter2\n", |section| {
        section.required::<url::Url>("database")
    });
    insta::assert_snapshot!(found, @"f.yaml:1:11: expected a URL such as https://example.com/health, found `postgres://…@db:99999/orders?…` (invalid port number)");
}

#[test]
fn errors_of_the_program_itself_are_reported_like_any_other() {
    let found = errors("interval: 1s\ntimeout: 2s\n", |section| {
        let interval = section.or("interval", Duration::from_secs(10));
        let timeout = section.or("timeout", Duration::from_secs(2));
        if timeout > interval {
            let position = section.position_of("timeout");
            section.report(position, "program.timeout", "the timeout is longer than the interval");
        }
        Some(())
    });
    insta::assert_snapshot!(found, @"f.yaml:2:10: the timeout is longer than the interval");
    insta::assert_snapshot!(errors("a: 1\n", |section| section.optional::<u16>("b")), @"f.yaml:1:1: the configuration could not be used");
}

#[test]
fn a_large_mapping_is_walked_in_reasonable_time_and_reported_within_bounds() {
    let text = (0..40_000).map(|number| format!("key{number}: 1\n")).collect::<Vec<_>>().concat();
    let document = Document::parse("f.yaml", &text).expect("valid");
    let opened = document.read(|section| {
        let keys: Vec<_> = section.keys().map(|(key, _)| key.to_owned()).collect();
        Some(keys.iter().filter(|key| section.has(key) && section.position_of(key).column > 1).count())
    });
    let diagnostics = opened.expect_err("all keys are unknown");
    assert_eq!((diagnostics.iter().len(), diagnostics.total()), (crate::MAX_DIAGNOSTICS, 40_000));
    assert!(diagnostics.to_string().ends_with("\nf.yaml: and 39800 more errors"));
}

#[test]
fn a_fingerprint_follows_content_not_layout() {
    let fingerprint = |text: &str| {
        let document = Document::parse("f.yaml", text).expect("valid");
        document.interpolate(&|_| Some("5s".to_owned())).expect("filled in").root().fingerprint()
    };
    let one = fingerprint("a: 5s\nb: [1, {c: d}]\n");
    assert_eq!(one, fingerprint("# moved\nb:\n  - '1'\n  - c: \"d\"\na: ${X}\n"));
    for other in
        ["a: 5s\nb: [{c: d}, 1]\n", "a: 6s\nb: [1, {c: d}]\n", "a: 5s\nb: [1, {c: }]\n", "b: 5s\na: [1, {c: d}]"]
    {
        assert_ne!(one, fingerprint(other), "{other}");
    }
    assert_ne!(fingerprint("a: "), fingerprint("a: ''"));
}

#[test]
fn a_fingerprint_follows_the_files_that_the_section_names_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = ["one.pem", "other.pem"].map(|name| folder.path().join(name));
    let text = format!("a: {{ca_file: '{}'}}\nb: {{ca_file: '{}'}}\nc: 1\n", one.display(), other.display());
    let document = Document::parse("f.yaml", &text).expect("valid");
    let fingerprints = || {
        let read = document.read(|root| {
            let of = |item: &mut Section<'_>| item.file("ca_file").map(|_| item.fingerprint());
            let (a, b, c) = (root.section("a", of), root.section("b", of), root.required::<u8>("c"));
            c.map(|_| [a.unwrap(), b.unwrap(), root.fingerprint()])
        });
        read.expect("all is known")
    };
    let missing = fingerprints();
    std::fs::write(&one, "certificate").unwrap();
    let there = fingerprints();
    assert!(missing[0] != there[0] && missing[1] == there[1] && missing[2] != there[2]);
    assert_eq!(there, fingerprints());
    std::fs::write(&other, "certificate").unwrap();
    let both = fingerprints();
    assert!(both[0] == there[0] && both[1] != there[1] && both[2] != there[2]);
}
