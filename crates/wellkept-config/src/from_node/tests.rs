//! Which texts each type accepts, and what it says of the others.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::{Amount, ByteSize, Document, FromNode, Ratio};

fn read<T: FromNode>(value: &str) -> Result<T, String> {
    Document::parse("f", &format!("k: {value}"))
        .and_then(|document| document.read(|section| section.required("k")))
        .map_err(|diagnostics| diagnostics.to_string())
}

#[track_caller]
fn accepts<T: FromNode + PartialEq + Debug>(value: &str, expected: &T) {
    assert_eq!(read::<T>(value).as_ref(), Ok(expected), "{value}");
}

/// The message for each value, one a line, and the code once more in front.
fn refusals<T: FromNode>(values: &[&str]) -> String {
    let refusal = |value: &&str| {
        let document = Document::parse("f", &format!("k: {value}")).expect("valid");
        let diagnostics = document.read(|section| section.required::<T>("k").map(|_| ())).expect_err(value);
        let diagnostic = diagnostics.iter().next().expect("never empty");
        format!("{} {}", diagnostic.code.trim_start_matches("config."), diagnostic.message)
    };
    values.iter().map(refusal).collect::<Vec<_>>().join("\n")
}

#[test]
fn norway_is_text_and_booleans_are_true_and_false() {
    for text in ["no", "NO", "on", "y", "1.10", "0x1F", "true", "1e3", "2026-01-15", "012", "!x"] {
        let quoted = if text == "!x" { "'!x'" } else { text };
        accepts(quoted, &text.to_owned());
    }
    accepts("''", &String::new());
    accepts("'null'", &"null".to_owned());
    for (text, expected) in [("true", true), ("False", false), ("\"true\"", true)] {
        accepts(text, &expected);
    }
    insta::assert_snapshot!(refusals::<bool>(&["yes", "Off", "1", "tRue", "~", "[true]"]), @"
    wrong_type expected true or false, found `yes` (write true)
    wrong_type expected true or false, found `Off` (write false)
    wrong_type expected true or false, found `1` (write true)
    wrong_type expected true or false, found `tRue`
    wrong_type expected true or false, found nothing
    wrong_type expected true or false, found a list
    ");
}

#[test]
fn numbers_are_decimal_and_in_range() {
    accepts("0", &0_u16);
    accepts("\"65535\"", &65_535_u16);
    accepts("18446744073709551615", &u64::MAX);
    accepts("-3", &-3_i64);
    accepts("-1.5e3", &-1500.0_f64);
    insta::assert_snapshot!(refusals::<u16>(&["65536", "-1", "1.0", "0x10", "0640", "1_000", "+1", "ten", "''", "--1"]), @"
    range expected a whole number such as 8080, found `65536` (from 0 to 65535)
    range expected a whole number such as 8080, found `-1` (from 0 to 65535)
    wrong_type expected a whole number such as 8080, found `1.0`
    wrong_type expected a whole number such as 8080, found `0x10`
    wrong_type expected a whole number such as 8080, found `0640` (without leading zeros: 640?)
    wrong_type expected a whole number such as 8080, found `1_000` (digits only: 1000?)
    wrong_type expected a whole number such as 8080, found `+1`
    wrong_type expected a whole number such as 8080, found `ten`
    wrong_type expected a whole number such as 8080, found ``
    wrong_type expected a whole number such as 8080, found `--1`
    ");
    insta::assert_snapshot!(refusals::<f64>(&[".inf", "nan", "inf", "1e999"]), @"
    wrong_type expected a number such as 1.5, found `.inf`
    wrong_type expected a number such as 1.5, found `nan`
    wrong_type expected a number such as 1.5, found `inf`
    wrong_type expected a number such as 1.5, found `1e999`
    ");
}

#[test]
fn durations_need_a_unit() {
    for (text, expected) in [
        ("250ms", Duration::from_millis(250)),
        ("10s", Duration::from_secs(10)),
        ("5m", Duration::from_secs(300)),
        ("2h", Duration::from_secs(7_200)),
        ("1d", Duration::from_secs(86_400)),
        ("1.5s", Duration::from_millis(1_500)),
        ("0.1ms", Duration::from_micros(100)),
        ("7µs", Duration::from_micros(7)),
        ("1h30m", Duration::from_secs(5_400)),
        ("0s", Duration::ZERO),
        ("3650d", Duration::from_secs(3_650 * 86_400)),
    ] {
        accepts(text, &expected);
    }
    let wrong = [
        "10",
        "10 s",
        "10 seconds",
        "10S",
        "3651d",
        "99999999999999999999999999999999999999d",
        "-5s",
        "5w",
        "1m1h",
        "1m1m",
        "1s5",
        "1.s",
        ".5s",
        "s",
        "''",
        "never",
    ];
    insta::assert_snapshot!(refusals::<Duration>(&wrong), @"
    wrong_type expected a duration such as 10s or 250ms, found `10` (add a unit: 10s?)
    wrong_type expected a duration such as 10s or 250ms, found `10 s` (10s?)
    wrong_type expected a duration such as 10s or 250ms, found `10 seconds` (10s?)
    wrong_type expected a duration such as 10s or 250ms, found `10S` (10s?)
    range expected a duration such as 10s or 250ms, found `3651d` (at most 3650d)
    range expected a duration such as 10s or 250ms, found `99999999999999999999999999999999999999d` (at most 3650d)
    range expected a duration such as 10s or 250ms, found `-5s` (a duration can't be negative)
    wrong_type expected a duration such as 10s or 250ms, found `5w` (units are us, ms, s, m, h and d)
    wrong_type expected a duration such as 10s or 250ms, found `1m1h` (units are us, ms, s, m, h and d)
    wrong_type expected a duration such as 10s or 250ms, found `1m1m` (units are us, ms, s, m, h and d)
    wrong_type expected a duration such as 10s or 250ms, found `1s5` (units are us, ms, s, m, h and d)
    wrong_type expected a duration such as 10s or 250ms, found `1.s`
    wrong_type expected a duration such as 10s or 250ms, found `.5s`
    wrong_type expected a duration such as 10s or 250ms, found `s`
    wrong_type expected a duration such as 10s or 250ms, found ``
    wrong_type expected a duration such as 10s or 250ms, found `never`
    ");
}

#[test]
fn ratios_are_from_nothing_to_all() {
    for (text, expected) in [("20%", 0.2), ("0.2", 0.2), ("100%", 1.0), ("0", 0.0), ("1", 1.0), ("12.5 %", 0.125)] {
        accepts(text, &Ratio::new(expected).expect("in range"));
    }
    assert_eq!(
        [0.07, 0.2, 1.0, 0.125].map(|ratio| Ratio::new(ratio).expect("in range").to_string()),
        ["7%", "20%", "100%", "12.5%"]
    );
    insta::assert_snapshot!(refusals::<Ratio>(&["20", "120%", "101", "-0.1", "'%'", "nan", "20percent"]), @"
    range expected a ratio such as 20% or 0.2, found `20` (20%?)
    range expected a ratio such as 20% or 0.2, found `120%` (from 0% to 100%)
    range expected a ratio such as 20% or 0.2, found `101` (from 0 to 1)
    range expected a ratio such as 20% or 0.2, found `-0.1` (from 0 to 1)
    wrong_type expected a ratio such as 20% or 0.2, found `%`
    wrong_type expected a ratio such as 20% or 0.2, found `nan`
    wrong_type expected a ratio such as 20% or 0.2, found `20percent`
    ");
}

#[test]
fn amounts_are_ratios_or_bytes() {
    accepts("10GiB", &ByteSize(10 << 30));
    accepts("10Gi", &ByteSize(10 << 30));
    accepts("1.5 kB", &ByteSize(1_500));
    accepts("512B", &ByteSize(512));
    accepts("20%", &Amount::Ratio(Ratio::new(0.2).expect("in range")));
    accepts("0.2", &Amount::Ratio(Ratio::new(0.2).expect("in range")));
    accepts("10GiB", &Amount::Bytes(ByteSize(10 << 30)));
    insta::assert_snapshot!(refusals::<Amount>(&["1", "1024", "120%", "1.5", "10G", "99999999PiB", "-1GiB", "lots"]), @"
    wrong_type expected a ratio such as 20%, or a number of bytes such as 10GiB, found `1` (add a unit: 1% or 1B?)
    wrong_type expected a ratio such as 20%, or a number of bytes such as 10GiB, found `1024` (add a unit: 1024% or 1024B?)
    range expected a ratio such as 20%, or a number of bytes such as 10GiB, found `120%` (from 0% to 100%)
    range expected a ratio such as 20%, or a number of bytes such as 10GiB, found `1.5` (1.5%?)
    wrong_type expected a ratio such as 20%, or a number of bytes such as 10GiB, found `10G` (units are B, KiB, MiB, GiB, TiB, and kB, MB, GB, TB)
    range expected a ratio such as 20%, or a number of bytes such as 10GiB, found `99999999PiB` (too large)
    wrong_type expected a ratio such as 20%, or a number of bytes such as 10GiB, found `-1GiB`
    wrong_type expected a ratio such as 20%, or a number of bytes such as 10GiB, found `lots`
    ");
    insta::assert_snapshot!(refusals::<ByteSize>(&["1024", "20%", "99999999PiB"]), @"
    wrong_type expected a number of bytes such as 512MiB or 10GiB, found `1024` (add a unit: 1024B?)
    wrong_type expected a number of bytes such as 512MiB or 10GiB, found `20%` (units are B, KiB, MiB, GiB, TiB, and kB, MB, GB, TB)
    range expected a number of bytes such as 512MiB or 10GiB, found `99999999PiB` (too large)
    ");
}

#[test]
fn addresses_have_a_port_and_no_name() {
    for (text, expected) in [
        ("0.0.0.0:8080", "0.0.0.0:8080"),
        ("\":8080\"", "0.0.0.0:8080"),
        ("'[::]:80'", "[::]:80"),
        ("127.0.0.1:0", "127.0.0.1:0"),
    ] {
        accepts::<SocketAddr>(text, &expected.parse().expect("an address"));
    }
    insta::assert_snapshot!(refusals::<SocketAddr>(&["8080", "10.0.0.1", "'::1'", "localhost:80", "example.com:80", "':99999'", "':+80'"]), @r#"
    wrong_type expected an address and port such as 127.0.0.1:8080, found `8080` (for all addresses: ":8080")
    wrong_type expected an address and port such as 127.0.0.1:8080, found `10.0.0.1` (add a port: 10.0.0.1:8080?)
    wrong_type expected an address and port such as 127.0.0.1:8080, found `::1` (add a port: [::1]:8080?)
    wrong_type expected an address and port such as 127.0.0.1:8080, found `localhost:80` (write 127.0.0.1:80)
    wrong_type expected an address and port such as 127.0.0.1:8080, found `example.com:80`
    wrong_type expected an address and port such as 127.0.0.1:8080, found `:99999`
    wrong_type expected an address and port such as 127.0.0.1:8080, found `:+80`
    "#);
}

#[test]
fn urls_are_absolute_and_show_no_credentials() {
    accepts("https://example.com/a?b", &Url::parse("https://example.com/a?b").expect("a URL"));
    accepts("'sqlite::memory:'", &Url::parse("sqlite::memory:").expect("a URL"));
    let wrong = [
        "example.com",
        "localhost:8080/x",
        "user:hunter2@host",
        "http://u:hunter2@h:x/?t=hunter2",
        "hunter2@x y",
        "https://",
    ];
    let messages = refusals::<Url>(&wrong);
    assert!(!messages.contains("hunter2"), "{messages}");
    insta::assert_snapshot!(messages, @"
    wrong_type expected a URL such as https://example.com/health, found `example.com` (add a scheme, such as https://)
    wrong_type expected a URL such as https://example.com/health, found `localhost:8080/x` (add a scheme, such as https://)
    wrong_type expected a URL such as https://example.com/health, found `…@host` (add a scheme, such as https://)
    wrong_type expected a URL such as https://example.com/health, found `http://…@h:x/?…` (invalid port number)
    wrong_type expected a URL such as https://example.com/health, found `…@x y` (add a scheme, such as https://)
    wrong_type expected a URL such as https://example.com/health, found `https://` (empty host)
    ");
}

#[test]
fn what_is_refused_shows_no_secret_that_its_look_gives_away() {
    let messages = refusals::<Duration>(&["redis://u:hunter2@h", "token=hunter2", "Bearer hunter2"]);
    insta::assert_snapshot!(messages, @"
    wrong_type expected a duration such as 10s or 250ms, found `redis://…@h`
    wrong_type expected a duration such as 10s or 250ms, found `token=…`
    wrong_type expected a duration such as 10s or 250ms, found `Bearer …`
    ");
}

#[test]
fn paths_and_secrets_are_taken_as_they_are() {
    accepts("~/x y", &PathBuf::from("~/x y"));
    insta::assert_snapshot!(refusals::<PathBuf>(&["''", "~"]), @"
    wrong_type expected a path such as /var/lib/app, found ``
    wrong_type expected a path such as /var/lib/app, found nothing
    ");
    assert_eq!(read::<SecretString>("' s '").map(|secret| secret.expose_secret().to_owned()), Ok(" s ".to_owned()));
}

#[test]
fn a_list_reports_every_wrong_item_and_takes_a_lone_value() {
    accepts("[a, 2]", &vec!["a".to_owned(), "2".to_owned()]);
    accepts("ready", &vec!["ready".to_owned()]);
    accepts("[]", &Vec::<String>::new());
    let messages = read::<Vec<u16>>("[1, x, 2, 99999]").expect_err("wrong");
    insta::assert_snapshot!(messages, @"
    f:1:8: expected a whole number such as 8080, found `x`
    f:1:14: expected a whole number such as 8080, found `99999` (from 0 to 65535)
    ");
    insta::assert_snapshot!(refusals::<Vec<u16>>(&["{a: 1}", "", "x"]), @"
    wrong_type expected a list such as [one, two], found a mapping
    wrong_type expected a list such as [one, two], found nothing (write [] for an empty list)
    wrong_type expected a whole number such as 8080, found `x`
    ");
}

#[test]
fn an_offending_text_is_escaped_and_cut() {
    let message = read::<u16>("\"a\\nb\\u202e`\\e[31m\"").expect_err("wrong");
    insta::assert_snapshot!(message, @r#"f:1:4: expected a whole number such as 8080, found `a\nb\u{202e}`\u{1b}[31m`"#);
    let message = read::<u16>(&"x".repeat(61)).expect_err("wrong");
    insta::assert_snapshot!(message, @"f:1:4: expected a whole number such as 8080, found `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…`");
}
