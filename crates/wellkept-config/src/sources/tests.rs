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
fn of_two_variables_for_one_key_neither_is_right() {
    let variables = |variables: &[(&str, &str)]| {
        refused(&Sources::new().joining(&[("checks", "name")]).environment_of("APP_", variables.iter().copied()))
    };
    insta::assert_snapshot!(variables(&[("APP_NAME", "a"), ("app_name", "b")]), @"environment app_name: set already, by environment APP_NAME");
    insta::assert_snapshot!(variables(&[("APP_HTTP", "a"), ("APP_HTTP__LISTEN", "b")]), @"
    environment APP_HTTP: expected a mapping such as `key: value`, found a single value
    environment APP_HTTP__LISTEN: `http` is a single value already, by environment APP_HTTP
    ");
    insta::assert_snapshot!(variables(&[("APP_HTTP____LISTEN", "a"), ("APP_HTTP__", "b"), ("APP___NAME", "b")]), @"
    environment APP_HTTP__: no key: `__` stands between levels, and one of them is empty
    environment APP_HTTP____LISTEN: no key: `__` stands between levels, and one of them is empty
    environment APP___NAME: no key: `__` stands between levels, and one of them is empty
    ");
    insta::assert_snapshot!(variables(&[("APP_HTTP__TAGS__0", "a"), ("APP_CHECKS__X", "b")]), @"
    environment APP_CHECKS__X: there is no `x` in `checks`
    environment APP_HTTP__TAGS__0: expected a list such as [one, two], found a mapping
    ");
    let deep = format!("APP{}", "__A".repeat(40));
    insta::assert_snapshot!(variables(&[(&deep, "a")]), @"environment APP__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A__A: too large: nested more than 32 levels deep");
}

#[test]
fn of_several_arguments_the_last_wins_over_every_variable() {
    let arguments = ["http=x", "http.listen=c", "name=a", "name=", "http.tags=[a]"];
    let sources = Sources::new()
        .environment_of("APP_", [("APP_HTTP", "x")])
        .arguments(arguments.map(|argument| argument.parse().expect("a key and a value")));
    insta::assert_snapshot!(read(&sources).unwrap(), @r#"listen Some("c") names None tags Some(["a"]) |  | Some("")"#);
    let listen = crate::Assignment::new("http.listn", "x").expect("a key").by_option("--listen");
    insta::assert_snapshot!(refused(&Sources::new().arguments([listen])), @"--listen: unknown key `listn` in `http`, did you mean `listen`?");
}

#[test]
fn an_argument_is_a_key_and_a_value() {
    let parsed = |text: &str| match text.parse::<crate::Assignment>() {
        Ok(assignment) => format!("{:?}", assignment.path().collect::<Vec<_>>()),
        Err(error) => format!("{}: {error}", error.code()),
    };
    insta::assert_snapshot!(parsed("a.b-c=d=e"), @r#"["a", "b-c"]"#);
    insta::assert_snapshot!(parsed("checks.\"a.b=c\".interval=5s"), @r#"["checks", "a.b=c", "interval"]"#);
    insta::assert_snapshot!(parsed("a.b"), @"config.assignment: expected KEY=VALUE, such as http.listen=127.0.0.1:8080");
    insta::assert_snapshot!(parsed("a..b=c"), @"config.assignment: expected a key such as http.listen before the equals sign, found `a..b`");
    insta::assert_snapshot!(parsed("=c"), @"config.assignment: expected a key such as http.listen before the equals sign, found ``");
    insta::assert_snapshot!(parsed("\"a=c"), @"config.assignment: expected KEY=VALUE, such as http.listen=127.0.0.1:8080");
    insta::assert_snapshot!(parsed("\"a\"b=c"), @r#"config.assignment: expected a key such as http.listen before the equals sign, found `"a"b`"#);
    let secret: crate::Assignment = "password=hunter2".parse().expect("a key and a value");
    let sources = Sources::new().arguments([secret]).environment_of("APP_", [("APP_PASSWORD", "hunter2")]);
    assert!(!format!("{sources:?}").contains("hunter2"), "{sources:?}");
}

#[test]
fn a_file_that_is_no_mapping_is_refused_whatever_is_laid_over_it() {
    let sources = Sources::new().text("a.yaml", "name: a").text("b.yaml", "- name").text("c.yaml", "name");
    let sources = sources.environment_of("APP_", [("APP_HTTP__LISTEN", "x")]);
    let content = sources.content().expect("read");
    insta::assert_snapshot!(sources.document(&content).expect_err("no mapping"), @"
    b.yaml:1:1: expected a mapping such as `key: value`, found a list
    c.yaml:1:1: expected a mapping such as `key: value`, found a single value
    ");
}

#[test]
fn what_can_not_be_read_is_told_with_its_name() {
    #[derive(Debug)]
    struct Broken;

    impl crate::Source for Broken {
        fn name(&self) -> &'static str {
            "vault"
        }

        fn read(&self) -> std::io::Result<Option<String>> {
            Err(std::io::Error::other("sealed"))
        }
    }

    let folder = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(folder.path().join("a.yaml")).expect("created");
    let told = |sources: &Sources| {
        let error = sources.content().expect_err("can't be read");
        format!("{}: {error}", error.code()).replace(&folder.path().display().to_string(), "FOLDER")
    };
    let new = Sources::new;
    insta::assert_snapshot!(told(&new().source(Broken)), @"config.unreadable: can't read the configuration vault: sealed");
    insta::assert_snapshot!(told(&new().file(folder.path().join("none.yaml"))), @"config.unreadable: can't read the configuration FOLDER/none.yaml: No such file or directory (os error 2)");
    insta::assert_snapshot!(told(&new().folder(folder.path())), @"config.unreadable: can't read the configuration FOLDER/a.yaml: it is not a regular file");
    assert!(new().optional_file(folder.path().join("none.yaml")).content().expect("nothing").parts.is_empty());
    let large = "#".repeat(crate::MAX_FILE_BYTES);
    let many = (0..9).fold(new(), |sources, number| sources.text(number.to_string(), large.clone()));
    insta::assert_snapshot!(told(&many), @"config.rejected: 8:1:1: too large: all files together are larger than 8388608 bytes");
    insta::assert_snapshot!(told(&new().text("a", large + "#")), @"config.rejected: a:1:1: too large: the file is larger than 1048576 bytes");
    let many = (0..=crate::MAX_FILES).fold(new(), |sources, number| sources.text(number.to_string(), "a: 1"));
    insta::assert_snapshot!(told(&many), @"config.rejected: 1000:1:1: too large: more than 1000 files");
}

#[test]
fn nodes_and_text_are_bounded_over_all_files_together() {
    let many = format!("name: [{}]", "1,".repeat(60_000));
    let sources = Sources::new().text("a.yaml", many.clone()).text("b.yaml", many);
    let content = sources.content().expect("read");
    insta::assert_snapshot!(sources.document(&content).expect_err("too large"), @"b.yaml:1:79996: too large: more than 100000 keys and values, aliases expanded");
}

#[test]
fn every_value_knows_where_it_comes_from() {
    let sources = checks().environment_of("APP_", [("APP_HTTP__LISTEN", "c")]).arguments(["name=a".parse().unwrap()]);
    let told = document(&sources).read(|root| {
        let name = root.origin_of("name");
        let listen = root.section("http", |http| {
            let told = [http.origin_of("listen"), http.origin_of("tags"), http.origin_of("show-names")];
            http.known(&["listen", "tags"]);
            Some(told)
        });
        root.known(&["name", "checks"]);
        Some(listen?.into_iter().chain([name]).map(|origin| origin.to_string()).collect::<Vec<_>>().join(", "))
    });
    insta::assert_snapshot!(told.expect("valid"), @"environment APP_HTTP__LISTEN, base.yaml:1:26, default, --set name");
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
