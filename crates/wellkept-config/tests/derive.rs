//! Derived readers: what they read, what they refuse, and what they tell of themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use wellkept_config::{ByteSize, Document, Entry, Settings, ShownValue, Words, describe, json_schema};

/// An adapter that takes documents in.
#[derive(Debug, Clone, PartialEq, Settings)]
struct Adapter {
    /// Whether it takes any.
    #[setting(default = true)]
    enabled: bool,
    /// How large a document may be.
    #[setting(default = ByteSize(10 << 20), range = ByteSize(1 << 10)..=ByteSize(1 << 30))]
    most: ByteSize,
    /// How it treats a broken one.
    #[setting(default)]
    broken: Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Words)]
enum Broken {
    #[default]
    Refuse,
    KeepAside,
    #[setting(rename = "drop!")]
    Drop,
}

#[derive(Debug, Settings)]
#[setting(validate = Application::check)]
struct Application {
    /// Its name.
    #[setting(restart)]
    name: String,
    /// How many it handles at once.
    #[setting(default = 4, range = 1..=64)]
    workers: u32,
    /// How long one may take.
    #[setting(range = Duration::from_millis(1)..=Duration::from_secs(60))]
    timeout: Option<Duration>,
    /// What it signs in with.
    token: Option<SecretString>,
    /// A number that nobody is told.
    #[setting(secret, default = 0)]
    pin: u32,
    /// Who may come in.
    #[setting(validate = no_spaces)]
    tenants: Vec<String>,
    /// The adapter of PDF.
    pdf: Adapter,
    /// The adapter of Word, if there is one.
    word: Option<Adapter>,
    /// Others, one after another.
    others: Vec<Adapter>,
    /// Others, by name.
    named: BTreeMap<String, Adapter>,
    /// How often by minute, for each tenant.
    limits: BTreeMap<String, u32>,
    /// A key that Rust has a word for.
    #[setting(default)]
    r#type: Broken,
}

impl Application {
    fn check(&self) -> Result<(), &'static str> {
        if self.workers == 13 { Err("thirteen workers quarrel") } else { Ok(()) }
    }
}

fn no_spaces(names: &[String]) -> Result<(), String> {
    match names.iter().find(|name| name.contains(' ')) {
        Some(name) => Err(format!("`{name}` has a space in it")),
        None => Ok(()),
    }
}

fn read(text: &str) -> Result<Application, String> {
    let document = Document::parse("app.yaml", text).map_err(|errors| errors.to_string())?;
    document.read(Application::read).map_err(|errors| errors.to_string())
}

#[test]
fn defaults_hold_where_nothing_is_said() {
    let read = read("name: intake").unwrap();
    let usual = Adapter { enabled: true, most: ByteSize(10 << 20), broken: Broken::Refuse };
    assert_eq!((&*read.name, read.workers, read.timeout, read.pin), ("intake", 4, None, 0));
    assert!(read.token.is_none() && read.tenants.is_empty() && read.word.is_none() && read.others.is_empty());
    assert!(read.named.is_empty() && read.limits.is_empty());
    assert_eq!((read.pdf, read.r#type), (usual, Broken::Refuse));
}

#[test]
fn what_is_said_is_read_in_every_shape() {
    let read = read(
        "name: intake\nworkers: 8\ntimeout: 5s\ntoken: hunter2\npin: 4711\ntenants: [a, b]\npdf: { enabled: false }\n\
         word: { most: 1MiB }\nothers: [{ broken: keep_aside }, {}]\nnamed: { csv: { broken: drop! } }\nlimits: { a: 5 }\n\
         type: drop!\n",
    )
    .unwrap();
    assert_eq!((read.workers, read.timeout, read.pin), (8, Some(Duration::from_secs(5)), 4711));
    assert_eq!(read.token.unwrap().expose_secret(), "hunter2");
    assert_eq!(read.tenants, ["a", "b"]);
    assert!(!read.pdf.enabled);
    assert_eq!(read.word.unwrap().most, ByteSize(1 << 20));
    assert_eq!(read.others.iter().map(|other| other.broken).collect::<Vec<_>>(), [Broken::KeepAside, Broken::Refuse]);
    assert_eq!(read.named["csv"].broken, Broken::Drop);
    assert_eq!((read.limits["a"], read.r#type), (5, Broken::Drop));
}

#[test]
fn all_errors_are_found_at_once_and_none_shows_a_secret() {
    let wrong = "workers: 65\ntimeout: 2m\npin: hunter2\ntenants: [a b]\npdf: { most: 1B, enabld: true }\n\
                 word: { broken: refus }\nothers: [{ enabled: maybe }]\nnamed: { csv: 1 }\nlimits: { a: x }\ntype: keep\n";
    insta::assert_snapshot!(read(wrong).unwrap_err(), @"
    app.yaml:1:1: missing key `name`: expected text
    app.yaml:1:10: `workers` must be from 1 to 64
    app.yaml:2:10: `timeout` must be from 1ms to 1m
    app.yaml:3:6: expected a whole number such as 3, found a value that is not shown
    app.yaml:4:10: `a b` has a space in it
    app.yaml:5:14: `most` must be from 1KiB to 1GiB
    app.yaml:5:18: unknown key `enabld` in `pdf`, did you mean `enabled`?
    app.yaml:6:17: expected refuse, keep_aside or drop!, found `refus` (did you mean `refuse`?)
    app.yaml:7:21: expected true or false, found `maybe`
    app.yaml:8:15: expected a mapping such as `key: value`, found a single value
    app.yaml:9:14: expected a whole number such as 3, found `x`
    app.yaml:10:7: expected refuse, keep_aside or drop!, found `keep`
    ");
    insta::assert_snapshot!(read("name: a\nworkers: 13").unwrap_err(), @"app.yaml:1:1: thirteen workers quarrel");
}

#[test]
fn a_section_that_is_not_there_misses_what_it_must_have() {
    #[derive(Debug, Settings)]
    struct Outer {
        /// The database.
        database: Inner,
    }
    #[derive(Debug, Settings)]
    struct Inner {
        /// Where.
        url: String,
    }
    let document = Document::parse("app.yaml", "{}").unwrap();
    let wrong = document.read(Outer::read).unwrap_err().to_string();
    insta::assert_snapshot!(wrong, @"app.yaml:1:1: missing key `url` in `database`: expected text");
    let read = Document::parse("app.yaml", "database: { url: here }").unwrap().read(Outer::read).unwrap();
    assert_eq!(read.database.url, "here");
}

#[test]
fn the_default_of_the_whole_is_that_of_its_fields() {
    #[derive(Debug, Settings)]
    #[setting(default)]
    struct Limits {
        /// Requests in a second.
        rate: u32,
        /// Requests at once.
        burst: u32,
    }
    impl Default for Limits {
        fn default() -> Self {
            Self { rate: 100, burst: 20 }
        }
    }
    let read = Document::parse("app.yaml", "burst: 7").unwrap().read(Limits::read).unwrap();
    assert_eq!((read.rate, read.burst), (100, 7));
    assert_eq!(describe::<Limits>().entry("burst").unwrap().default(), Some("20"));
}

#[test]
fn what_waits_for_a_restart_is_told_by_its_path() {
    #[derive(Debug, Settings)]
    struct Outer {
        /// A section.
        inner: Application,
    }
    let of = |text: &str| Document::parse("app.yaml", text).unwrap().read(Outer::read).unwrap();
    let (started, new) = (of("inner: { name: a }"), of("inner: { name: b, workers: 9 }"));
    assert_eq!(Outer::restart_required(&started, &new), ["inner.name"]);
    assert_eq!(Outer::restart_required(&started, &started), [""; 0]);
    let reference = describe::<Outer>();
    let waiting: Vec<_> = reference.entries().iter().filter(|entry| entry.needs_restart()).map(Entry::path).collect();
    assert_eq!(waiting, ["inner.name"]);
}

#[test]
fn the_reference_has_every_key_with_what_is_known_of_it() {
    let reference = describe::<Application>();
    let lines: Vec<_> = reference
        .entries()
        .iter()
        .map(|entry| {
            let presence = if entry.is_required() { "required" } else { entry.default().unwrap_or("-") };
            let secret = if entry.is_secret() { " (secret)" } else { "" };
            format!("{} | {} | {presence} | {}{secret}", entry.path(), entry.expected(), entry.description())
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    name | text | required | Its name.
    workers | a whole number such as 3, from 1 to 64 | 4 | How many it handles at once.
    timeout | a duration such as 10s or 250ms, from 1ms to 1m | nothing | How long one may take.
    token | text that is kept secret | nothing | What it signs in with. (secret)
    pin | a whole number such as 3 | 0 | A number that nobody is told. (secret)
    tenants | a list such as [one, two] | [] | Who may come in.
    pdf | a section | - | The adapter of PDF.
    pdf.enabled | true or false | true | Whether it takes any.
    pdf.most | a number of bytes such as 512MiB or 10GiB, from 1KiB to 1GiB | 10MiB | How large a document may be.
    pdf.broken | refuse, keep_aside or drop! | refuse | How it treats a broken one.
    word | a section | nothing | The adapter of Word, if there is one.
    word.enabled | true or false | true | Whether it takes any.
    word.most | a number of bytes such as 512MiB or 10GiB, from 1KiB to 1GiB | 10MiB | How large a document may be.
    word.broken | refuse, keep_aside or drop! | refuse | How it treats a broken one.
    others | a list of sections | - | Others, one after another.
    others[].enabled | true or false | true | Whether it takes any.
    others[].most | a number of bytes such as 512MiB or 10GiB, from 1KiB to 1GiB | 10MiB | How large a document may be.
    others[].broken | refuse, keep_aside or drop! | refuse | How it treats a broken one.
    named | a mapping with free keys | - | Others, by name.
    named.<name> | a section | - | 
    named.<name>.enabled | true or false | true | Whether it takes any.
    named.<name>.most | a number of bytes such as 512MiB or 10GiB, from 1KiB to 1GiB | 10MiB | How large a document may be.
    named.<name>.broken | refuse, keep_aside or drop! | refuse | How it treats a broken one.
    limits | a mapping with free keys | - | How often by minute, for each tenant.
    limits.<name> | a whole number such as 3 | - | 
    type | refuse, keep_aside or drop! | refuse | A key that Rust has a word for.
    ");
}

#[test]
fn the_schema_says_what_the_reader_takes() {
    #[derive(Debug, Settings)]
    #[expect(dead_code, reason = "only described")]
    struct Small {
        /// Its name.
        name: String,
        /// How many.
        #[setting(default = 4, range = 1..=64)]
        workers: u32,
        /// Adapters by name.
        named: BTreeMap<String, Broken>,
    }
    insta::assert_snapshot!(json_schema::<Small>("small", "https://example.com/small.json"), @r#"
    {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "$id": "https://example.com/small.json",
      "title": "small",
      "type": "object",
      "properties": {
        "name": {
          "description": "Its name.",
          "type": [
            "string",
            "number",
            "boolean"
          ]
        },
        "workers": {
          "description": "How many.",
          "default": 4,
          "type": [
            "integer",
            "string"
          ],
          "minimum": 1,
          "maximum": 64,
          "pattern": "^(?:-?(0|[1-9][0-9]*))$|\\$\\{"
        },
        "named": {
          "description": "Adapters by name.",
          "type": [
            "object",
            "null"
          ],
          "additionalProperties": {
            "anyOf": [
              {
                "enum": [
                  "refuse",
                  "keep_aside",
                  "drop!"
                ]
              },
              {
                "type": "string",
                "pattern": "\\$\\{"
              }
            ]
          }
        }
      },
      "required": [
        "name"
      ],
      "additionalProperties": false
    }
    "#);
}

#[test]
fn of_secrets_that_are_addresses_or_announced_by_an_argument_all_else_is_shown() {
    let read = |section: &mut wellkept_config::Section<'_>| {
        // Whoever asks once more, for a text that is none, gets no more shown.
        let url = (section.secret("url"), section.optional::<String>("url"));
        let run = section.optional::<Vec<String>>("run");
        section.complete();
        Some((url, run))
    };
    let shown = |text: &str| {
        let document = Document::parse("app.yaml", text).unwrap().interpolate(&|_| Some("canary".to_owned())).unwrap();
        let (_, values) = document.read_with_values(read).unwrap();
        values.into_iter().map(|shown| (shown.path, shown.value)).collect::<Vec<_>>()
    };
    let written = |path: &str, value: &str| (path.to_owned(), ShownValue::Written(value.to_owned()));
    assert_eq!(
        shown("url: 'redis://app:hunter2@cache:6379/0'\nrun: [ask, --password, hunter2, --token, '${T}', -v]"),
        [written("url", "redis://…@cache:6379/…"), written("run", "[ask, --password, …, --token, ${T}, -v]"),]
    );
    assert_eq!(shown("url: ${DATABASE_URL}"), [written("url", "${DATABASE_URL}")]);
    assert_eq!(shown("url: hunter2"), [("url".to_owned(), ShownValue::Secret)]);
}

#[test]
fn values_are_shown_with_where_they_come_from_and_secrets_are_not() {
    let text = "name: ${NAME}\ntoken: hunter2\npin: 1\nothers: [{ most: 1MiB }]\nnamed: { csv: { enabled: false } }\n\
                limits: { a: 5 }\ntenants: [a, 'b']\n";
    let document = Document::parse("app.yaml", text).unwrap().interpolate(&|_| Some("canary".to_owned())).unwrap();
    let (_, values) = document.read_with_values(Application::read).unwrap();
    let lines: Vec<_> = values
        .iter()
        .map(|shown| {
            let value = match &shown.value {
                ShownValue::Written(written) => written,
                ShownValue::Secret => "(secret)",
            };
            format!("{} = {value}, from {}", shown.path, shown.origin)
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    name = ${NAME}, from app.yaml:1:7
    workers = 4, from default
    token = (secret), from app.yaml:2:8
    pin = (secret), from app.yaml:3:6
    tenants = [a, b], from app.yaml:7:10
    pdf.enabled = true, from default
    pdf.most = 10MiB, from default
    pdf.broken = refuse, from default
    others[0].enabled = true, from default
    others[0].most = 1MiB, from app.yaml:4:18
    others[0].broken = refuse, from default
    named.csv.enabled = false, from app.yaml:5:26
    named.csv.most = 10MiB, from default
    named.csv.broken = refuse, from default
    limits.a = 5, from app.yaml:6:14
    type = refuse, from default
    ");
}
