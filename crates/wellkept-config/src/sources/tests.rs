//! What wins over what, where it is said to come from, and what is refused.

use std::fs;
use std::time::Duration;

use crate::{Diagnostics, Document, Section, Sources};

fn document(sources: &Sources) -> Document {
    let content = sources.content().expect("read");
    sources.document(&content).expect("merged")
}

/// What a program with a few settings reads, in short.
fn read(sources: &Sources) -> Result<String, Diagnostics> {
    document(sources).read(|root| Some(settings(root)))
}

fn refused(sources: &Sources) -> String {
    read(sources).expect_err("must be refused").to_string()
}

fn settings(root: &mut Section<'_>) -> String {
    let http = root.section("http", |http| {
        let listen = http.optional::<String>("listen");
        let names = http.optional::<bool>("show-names");
        let tags = http.optional::<Vec<String>>("tags");
        http.complete();
        Some(format!("listen {listen:?} names {names:?} tags {tags:?}"))
    });
    let mut checks = Vec::new();
    root.list("checks", |check| {
        let name = check.required::<String>("name");
        let interval = check.or("interval", Duration::from_secs(10));
        check.complete();
        checks.push(format!("{}: {interval:?}", name?));
        Some(())
    });
    let name = root.optional::<String>("name");
    root.complete();
    format!("{} | {} | {name:?}", http.unwrap_or_default(), checks.join(", "))
}

fn checks() -> Sources {
    Sources::new()
        .joining(&[("checks", "name")])
        .text("base.yaml", "http: { listen: a, tags: [x] }\nchecks:\n- { name: orders-db, interval: 5s }\n")
        .text("more.yaml", "checks:\n- { name: cache }\n")
}

#[test]
fn arguments_win_over_the_environment_over_later_files_over_earlier_ones() {
    let set = ["http.listen=d".parse().unwrap()];
    let one = Sources::new().text("one.yaml", "http: { listen: a, show-names: true, tags: [x] }\nname: one\n");
    let two = one.clone().text("two.yaml", "http: { listen: b, tags: [y, z] }\n");
    let environment =
        two.clone().environment_of("APP_", [("APP_HTTP__LISTEN", "c"), ("app_http__show_names", "false")]);
    let arguments = environment.clone().arguments(set);
    insta::assert_snapshot!(read(&one).unwrap(), @r#"listen Some("a") names Some(true) tags Some(["x"]) |  | Some("one")"#);
    insta::assert_snapshot!(read(&two).unwrap(), @r#"listen Some("b") names Some(true) tags Some(["y", "z"]) |  | Some("one")"#);
    insta::assert_snapshot!(read(&environment).unwrap(), @r#"listen Some("c") names Some(false) tags Some(["y", "z"]) |  | Some("one")"#);
    insta::assert_snapshot!(read(&arguments).unwrap(), @r#"listen Some("d") names Some(false) tags Some(["y", "z"]) |  | Some("one")"#);
}

#[test]
fn lists_that_join_add_up_and_their_items_go_by_their_names() {
    insta::assert_snapshot!(read(&checks()).unwrap(), @r#"listen Some("a") names None tags Some(["x"]) | orders-db: 5s, cache: 10s | None"#);
    let set = checks().environment_of("APP_", [("APP_CHECKS__ORDERS_DB__INTERVAL", "1m"), ("APP_NAME", "orders")]);
    insta::assert_snapshot!(read(&set).unwrap(), @r#"listen Some("a") names None tags Some(["x"]) | orders-db: 60s, cache: 10s | Some("orders")"#);
    insta::assert_snapshot!(refused(&checks().text("again.yaml", "checks:\n- name: cache\n")), @"again.yaml:2:9: `cache` is there already, at more.yaml:2:11");
}

#[test]
fn what_a_variable_or_an_argument_holds_is_one_value() {
    let given = |value: &str| {
        let sources = Sources::new().environment_of("APP_", [("APP_NAME", value), ("APP_HTTP__TAGS", value)]);
        read(&sources).unwrap_or_else(|error| error.to_string())
    };
    insta::assert_snapshot!(given("[a, 'b, c']"), @r#"listen None names None tags Some(["a", "b, c"]) |  | Some("[a, 'b, c']")"#);
    insta::assert_snapshot!(given("${HOME}: {x}"), @r#"listen None names None tags Some(["${HOME}: {x}"]) |  | Some("${HOME}: {x}")"#);
    insta::assert_snapshot!(given("[a, [b]]"), @"environment APP_HTTP__TAGS: expected a list such as [one, two], found `[a, [b]]`");
    insta::assert_snapshot!(given("null"), @r#"listen None names None tags Some(["null"]) |  | Some("null")"#);
    insta::assert_snapshot!(given(""), @" |  | None");
}

#[test]
fn errors_name_the_file_the_variable_or_the_argument() {
    let sources = checks()
        .environment_of(
            "APP_",
            [
                ("APP_HTTP__LISTN", "x"),
                ("APP_CHECKS__ORDERS__X", "1"),
                ("APP_CONFIG", "/x"),
                ("APP_HTTP__SHOW_NAMES", "ja"),
            ],
        )
        .arguments(["checks.cache.interval=5".parse().unwrap()]);
    insta::assert_snapshot!(refused(&sources), @"
    environment APP_CHECKS__ORDERS__X: there is no `orders` in `checks`, did you mean `orders-db`?
    environment APP_HTTP__LISTN: unknown key `listn` in `http`, did you mean `listen`?
    environment APP_HTTP__SHOW_NAMES: expected true or false, found `ja`
    --set checks.cache.interval: expected a duration such as 10s or 250ms, found `5` (add a unit: 5s?)
    ");
    insta::assert_snapshot!(refused(&Sources::new().environment_of("APP_", [("APP_CHECKS", "x")])), @"environment APP_CHECKS: expected a list of mappings, each after a `- `, found a single value");
}

#[test]
fn a_folder_is_read_by_name_without_what_is_hidden() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in [("b.yaml", "name: b"), ("a.yml", "name: a"), (".c.yaml", "name: c"), ("d.yaml~", "name: d")] {
        fs::write(folder.path().join(name), text).expect("written");
    }
    let sources = Sources::new().folder(folder.path()).folder(folder.path().join("none"));
    let names: Vec<_> = sources.content().expect("read").parts.into_iter().map(|part| part.text).collect();
    assert_eq!(names, ["name: a", "name: b"]);
}
