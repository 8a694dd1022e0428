//! What is refused before the walk, and where everything stands.

use std::fs;

use crate::{Document, LoadError, MAX_FILE_BYTES, Node, Value, codes};

fn refused(text: &str) -> String {
    Document::parse("f.yaml", text).expect_err("must be refused").to_string()
}

fn code(text: &str) -> &'static str {
    let diagnostics = Document::parse("f.yaml", text).expect_err("must be refused");
    diagnostics.iter().next().expect("never empty").code
}

/// The tree in short: every key and value with its position.
fn outline(node: &Node) -> String {
    let at = node.position();
    match node.value() {
        Value::Scalar(scalar) => format!("{:?}@{at}", scalar.text()),
        Value::Sequence(items) => format!("[{}]@{at}", items.iter().map(outline).collect::<Vec<_>>().join(" ")),
        Value::Mapping(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, node)| format!("{}@{}={}", key.text(), key.position(), outline(node)))
                .collect();
            format!("{{{}}}@{at}", entries.join(" "))
        }
    }
}

fn outlined(text: &str) -> String {
    outline(Document::parse("f.yaml", text).expect("valid").root())
}

#[test]
fn positions_are_right_in_flow_and_block_style() {
    insta::assert_snapshot!(outlined("service: { name: orders, version: \"1.4.2\" }\n"), @r#"{service@1:1={name@1:12="orders"@1:18 version@1:26="1.4.2"@1:35}@1:10}@1:1"#);
    insta::assert_snapshot!(outlined("a:\n  - b: 'x'\n    c: |\n      one\n      two\n  - [d,\n     e]\n"), @r#"{a@1:1=[{b@2:5="x"@2:8 c@3:5="one\ntwo\n"@4:7}@2:5 ["d"@6:6 "e"@7:6]@6:5]@2:3}@1:1"#);
}

#[test]
fn a_whole_configuration_is_read_as_it_is_meant() {
    let text = r#"
service: { name: orders, version: "1.4.2" }
http:    { listen: "0.0.0.0:8080" }            # probes
checks:
  - name: orders-db
    postgres: { url: "${DATABASE_URL}" }
    groups: [ready]
  - name: payments-api
    http: { url: "https://payments.internal/health", expect: { status: 200, json: { "$.status": healthy } } }
  - name: data-disk
    disk: { path: /var/lib/orders, degraded_below: 20%, unhealthy_below: 5% }
"#;
    let root = outlined(text);
    for expected in [
        r#"version@2:26="1.4.2"@2:35"#,
        r#"url@6:17="${DATABASE_URL}"@6:22"#,
        r#"groups@7:5=["ready"@7:14]@7:13"#,
        r#"$.status@9:85="healthy"@9:97"#,
        r#"unhealthy_below@11:57="5%"@11:74"#,
    ] {
        assert!(root.contains(expected), "{expected} in {root}");
    }
}

#[test]
fn columns_count_characters_and_a_byte_order_mark_is_none() {
    insta::assert_snapshot!(outlined("\u{feff}{ü: é, \"→\": x}\r\n"), @r#"{ü@1:2="é"@1:5 →@1:8="x"@1:13}@1:1"#);
    insta::assert_snapshot!(outlined("a: \"ö\r\n  b\"\r\nc: d\r\n"), @r#"{a@1:1="ö b"@1:4 c@3:1="d"@3:4}@1:1"#);
}

#[test]
fn an_empty_value_stands_where_its_key_is() {
    insta::assert_snapshot!(outlined("a:\nb: { c: , d }\n"), @r#"{a@1:1=""@1:1 b@2:1={c@2:6=""@2:6 d@2:11=""@2:11}@2:4}@1:1"#);
}

#[test]
fn an_alias_stands_where_it_is_used_and_its_content_where_it_is_written() {
    insta::assert_snapshot!(outlined("a: &x { k: 1 }\nb: *x\n"), @r#"{a@1:1={k@1:9="1"@1:12}@1:4 b@2:1={k@1:9="1"@1:12}@2:4}@1:1"#);
}

#[test]
fn keys_are_text_however_they_look() {
    insta::assert_snapshot!(outlined("{ no: 1, on: 2, 200: ok, \"<<\": x, $.status: y }"), @r#"{no@1:3="1"@1:7 on@1:10="2"@1:14 200@1:17="ok"@1:22 <<@1:26="x"@1:32 $.status@1:35="y"@1:45}@1:1"#);
}

#[test]
fn errors_that_leave_the_tree_readable_are_all_reported() {
    insta::assert_snapshot!(refused("a: 1\n'a': 2\n? [x, y]\n: z\n~: 1\n<<: { b: 1 }\nc: !!str 5\n? {d: 1}\n"), @"
    f.yaml:2:1: `a` is given twice, first on line 1
    f.yaml:3:3: expected a key, as text, found a list
    f.yaml:5:1: expected a key, as text, found nothing
    f.yaml:6:1: merge keys (`<<`) are not supported: write the keys out, or use an alias for the whole mapping
    f.yaml:7:4: tags such as `!!str` are not supported: remove it
    f.yaml:8:3: expected a key, as text, found a mapping
    ");
}

#[test]
fn invalid_yaml_is_explained_where_it_stands() {
    insta::assert_snapshot!(refused("a:\n\tb: 1\n"), @"f.yaml:2:2: not valid YAML: a tab in the indentation: use spaces");
    insta::assert_snapshot!(refused("{ url: ${DATABASE_URL} }\n"), @r#"f.yaml:1:9: not valid YAML: put a value that contains `${` in quotes: "${NAME}""#);
    insta::assert_snapshot!(refused("a: 1\n  b: 2\n"), @"f.yaml:2:4: not valid YAML: a colon that is out of place: check the indentation, or put a value that contains `: ` in quotes");
    insta::assert_snapshot!(refused("a: [1, 2\n"), @"f.yaml:2:1: not valid YAML: a comma or a `]` is missing");
    insta::assert_snapshot!(refused("a: \"x\n"), @"f.yaml:1:4: not valid YAML: a quote is opened here and not closed");
    insta::assert_snapshot!(refused("a: *x\n"), @"f.yaml:1:4: not valid YAML: an alias to an anchor that is not defined above it");
    insta::assert_snapshot!(refused("a: 1\na: 2\nb: @x\n"), @"
    f.yaml:2:1: `a` is given twice, first on line 1
    f.yaml:3:4: not valid YAML: a value can't begin with this character: put it in quotes
    ");
    insta::assert_snapshot!(refused("a: 1\nb: x\0y\n"), @"f.yaml:2:5: the control character U+0000 is not allowed here");
}

#[test]
fn an_empty_file_and_a_second_document_are_refused() {
    for text in ["", "\n", "# only a comment\n", "---\n", "...", "~\n", "null"] {
        assert_eq!(code(text), codes::EMPTY, "{text:?}");
    }
    insta::assert_snapshot!(refused("---\na: 1\n---\nb: 2\n"), @"f.yaml:3:1: a second document begins here (`---`): a file holds one");
    insta::assert_snapshot!(refused("a: &x [*x]\n"), @"f.yaml:1:8: this alias stands inside the value that it refers to");
}

#[test]
fn depth_is_bounded_also_through_aliases() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Document::parse("f.yaml", &nested(32)).is_ok());
    insta::assert_snapshot!(refused(&nested(33)), @"f.yaml:1:33: too large: nested more than 32 levels deep");
    assert!(Document::parse("f.yaml", &format!("- &x {}\n- [*x]\n", nested(30))).is_ok());
    let text = format!("- &x {}\n- [*x]\n", nested(31));
    insta::assert_snapshot!(refused(&text), @"f.yaml:2:4: too large: nested more than 32 levels deep");
}

#[test]
fn nodes_and_text_are_bounded_after_expansion() {
    let bomb: String = (1..20).fold("x0: &x0 [a, b]\n".to_owned(), |text, level| {
        let below = level - 1;
        text + &format!("x{level}: &x{level} [*x{below}, *x{below}, *x{below}]\n")
    });
    assert_eq!(code(&bomb), codes::TOO_LARGE);
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a, ".repeat(100));
    insta::assert_snapshot!(refused(&long), @"f.yaml:2:61: too large: more than 8388608 bytes of text, aliases expanded");
    let many = format!("[{}]", "1,".repeat(100_000));
    assert_eq!(code(&many), codes::TOO_LARGE);
    assert!(Document::parse("f.yaml", &format!("[{}]", "1,".repeat(99_999))).is_ok());
    assert_eq!(code(&"#".repeat(MAX_FILE_BYTES + 1)), codes::TOO_LARGE);
}

#[test]
fn variables_are_filled_in_within_bounds() {
    let document = Document::parse("f.yaml", &format!("[{}]", "$X,".repeat(10))).expect("valid");
    let lookup = |name: &str| {
        assert_eq!(name, "CREDENTIALS_DIRECTORY", "no braces, no variable");
        None
    };
    let text = document.interpolate(&lookup).expect("as written");
    assert_eq!(outline(text.root()).matches("\"$X\"").count(), 10);

    let document = Document::parse("f.yaml", &format!("a: {}\nb: $$\n", "${X}".repeat(100))).expect("valid");
    let refused = document.interpolate(&|_| Some("x".repeat(100_000))).expect_err("too large");
    insta::assert_snapshot!(refused, @"f.yaml:1:4: too large: more than 8388608 bytes of text, variables filled in");
}

#[test]
fn a_variable_is_explained_when_it_is_wrong() {
    let text = "a: ${\nb: '${}'\nc: ${A-b}\nd: ${A:-${B}}\ne: ${1A}\nf: ${A\ng: x${MISSING}y\n";
    let document = Document::parse("f.yaml", text).expect("valid");
    insta::assert_snapshot!(document.interpolate(&|_| None).expect_err("wrong"), @"
    f.yaml:1:4: `${` is not closed: write ${NAME}, or $$ for a dollar sign
    f.yaml:2:4: expected a variable such as ${NAME} or ${NAME:-default}, found `${}` ($$ is a dollar sign)
    f.yaml:3:4: expected a variable such as ${NAME} or ${NAME:-default}, found `${A-b}` ($$ is a dollar sign)
    f.yaml:4:4: `${A:-${B}`…: a default can't hold another variable
    f.yaml:5:4: expected a variable such as ${NAME} or ${NAME:-default}, found `${1A}` ($$ is a dollar sign)
    f.yaml:6:4: `${A` is not closed: write ${NAME}, or $$ for a dollar sign
    f.yaml:7:4: the variable `MISSING` is not set: set it, or write ${MISSING:-default}
    ");
}

#[test]
fn a_default_stands_in_for_unset_and_for_empty() {
    let text = "[\"${UNSET:-a b}\", \"${EMPTY:-c}\", \"${EMPTY}\", \"${SET:-d}\", \"${UNSET:-}\", \"$${SET} $.x 5$\"]";
    let document = Document::parse("f.yaml", text).expect("valid");
    let lookup = |name: &str| match name {
        "SET" => Some("set".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let document = document.interpolate(&lookup).expect("filled in");
    insta::assert_snapshot!(outline(document.root()), @r#"["a b"@1:2 "c"@1:19 ""@1:34 "set"@1:46 ""@1:59 "${SET} $.x 5$"@1:73]@1:1"#);
    assert!(!format!("{document:?} {:?}", document.root()).contains("\"set\""), "debug output shows no variable");
}

#[test]
fn a_file_is_loaded_or_the_reason_is_told() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("f.yaml");
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("written");
        Document::load(&path)
    };
    let reason = |result: Result<Document, LoadError>| {
        let error = result.expect_err("must be refused");
        let message = error.to_string().replace(&directory.path().display().to_string(), "");
        format!("{}: {message}", error.code())
    };
    assert_eq!(load(b"a: 1").expect("valid").name(), path.display().to_string());
    insta::assert_snapshot!(reason(load(b"a: 1\nb: \xc3\xbc\xff\n")), @"config.rejected: /f.yaml:2:5: the file is not UTF-8: the byte 0xFF does not belong here");
    insta::assert_snapshot!(reason(load(b"\xff\xfea\0")), @"config.rejected: /f.yaml:1:1: the file is UTF-16: save it as UTF-8");
    insta::assert_snapshot!(reason(load(&vec![b'#'; MAX_FILE_BYTES + 1])), @"config.rejected: /f.yaml:1:1: too large: the file is larger than 1048576 bytes");
    insta::assert_snapshot!(reason(load(b"a: 1\na: 2\n")), @"config.rejected: /f.yaml:2:1: `a` is given twice, first on line 1");
    assert!(load(format!("a: {}", "x".repeat(MAX_FILE_BYTES - 3)).as_bytes()).is_ok());
    let missing = reason(Document::load(&directory.path().join("none.yaml")));
    insta::assert_snapshot!(missing, @"config.unreadable: can't read the configuration /none.yaml: No such file or directory (os error 2)");
}
