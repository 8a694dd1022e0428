//! Claims about what is masked, and what is left alone.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn redactor(names: &[&str], patterns: &[&str]) -> Redactor {
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    Redactor::new(&Redaction { secrets: Secrets::Masked, names: owned(names), patterns: owned(patterns) }).unwrap()
}

fn redacted_by(redactor: &Redactor, text: &str) -> String {
    let mut out = String::new();
    if redactor.redact(text, &mut out) { out } else { text.to_owned() }
}

fn redacted(text: &str) -> String {
    redacted_by(&redactor(&[], &[]), text)
}

fn is_secret(name: &str) -> bool {
    redactor(&[], &[]).is_secret(name)
}

#[test]
fn telling_names_are_known_in_any_spelling() {
    for name in
        ["password", "db.password", "DB_PASSWORD", "accessToken", "x-api-key", "api_key", "Set-Cookie", "pwd", "token_"]
    {
        assert!(is_secret(name), "{name}");
    }
    for name in ["passwords_changed", "tokens", "token_file", "key", "id", "", "component", "secretary"] {
        assert!(!is_secret(name), "{name}");
    }
}

#[test]
fn secrets_are_masked_wherever_they_stand() {
    for (text, masked) in [
        ("postgres://app:hunter2@db:5432/x", "postgres://app:***@db:5432/x"),
        ("redis://:hunter2@cache/0 is down", "redis://:***@cache/0 is down"),
        ("a http://u:p@h/ and b http://u:q@h/", "a http://u:***@h/ and b http://u:***@h/"),
        ("postgres://u:p@h1:1,h2:2/x", "postgres://u:***@h1:1,h2:2/x"),
        ("postgres://u:p/a@ss@h/x", "postgres://u:***@h/x"),
        ("https://ghp_0123456789abcdefghij@github.com", "https://***@github.com"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("got bearer abc, retrying", "got bearer ***, retrying"),
        ("Basic dXNlcjpwYXNzd29yZA==", "Basic ***"),
        ("host=db password=hunter2 port=1", "host=db password=*** port=1"),
        ("password = 'a \\' b' x", "password = '***' x"),
        ("GET /?token=abc&x=1", "GET /?token=***&x=1"),
        (r#"{"password": "a\"b", "x": 1}"#, r#"{"password": "***", "x": 1}"#),
        (r#"{"password": "a\\", "x": 1}"#, r#"{"password": "***", "x": 1}"#),
        (r#"{"token":12345}"#, r#"{"token":***}"#),
        (r#"{"secret":["a","b"],"x":1}"#, r#"{"secret":***,"x":1}"#),
        (r#"{"credentials":{"user":{"a":1},"p":"b"},"x":1}"#, r#"{"credentials":***,"x":1}"#),
        (r#"Settings { password: Some("a b"), user: "u" }"#, r#"Settings { password: Some("***"), user: "u" }"#),
        (r#"Settings { token: Token("a b"), user: "u" }"#, r#"Settings { token: ***, user: "u" }"#),
        (r#"Settings { secret: Key { of: "a b" }, user: 1 }"#, "Settings { secret: ***, user: 1 }"),
        ("Cookie=a=b; c=d", "Cookie=***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_ ok", "*** ok"),
        ("paid with 4111 1111 1111 1111, thanks", "paid with ***, thanks"),
        ("pan=4111-1111-1111-1111", "pan=***"),
        ("order 12 4111111111111111", "order 12 ***"),
        ("password=ü", "password=***"),
        ("ü password: x", "ü password: ***"),
    ] {
        assert_eq!(redacted(text), masked, "{text}");
    }
}

#[test]
fn json_in_json_in_json_is_searched_too() {
    for depth in 0..4 {
        let mut text = r#"{"api_key":"hun\"ter2","x":"y"}"#.to_owned();
        let mut masked = r#"{"api_key":"***","x":"y"}"#.to_owned();
        for _ in 0..depth {
            text = format!("{{\"inner\":{}}}", serde_json::to_string(&text).unwrap());
            masked = format!("{{\"inner\":{}}}", serde_json::to_string(&masked).unwrap());
        }
        assert_eq!(redacted(&text), masked);
    }
}

#[test]
fn what_is_no_secret_is_left_alone() {
    for text in [
        "http://127.0.0.1:8080/a@b",
        "http://[::1]:8080/x",
        "postgres://app@db/x",
        "invalid token: unexpected end",
        "a basic check",
        "10:30:00",
        "a=b c:d",
        "the bearer",
        "eyes",
        "1768473000123 and 00000000-0000-4000-8000-000000000000",
        "",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn names_and_patterns_of_ones_own_are_masked_too() {
    let redactor = redactor(&["Tax_Number", "straße"], &[r"\bKD-\d{6}\b", "(?i)internal-[a-z]+"]);
    assert!(
        ["tax_number", "customerTaxNumber", "tax-number", "STRASSE_straße"].iter().all(|it| redactor.is_secret(it))
    );
    assert!(!redactor.is_secret("tax"));
    assert_eq!(
        redacted_by(&redactor, "taxNumber=12 of KD-123456 and KD-1234567"),
        "taxNumber=*** of *** and KD-1234567"
    );
    assert_eq!(redacted_by(&redactor, "Internal-x"), "***");
}

#[test]
fn what_cannot_be_used_is_refused_and_the_error_says_where() {
    let code = |redaction: Redaction| Redactor::new(&redaction).unwrap_err().code();
    let of_pattern = |pattern: &str| Redaction { patterns: vec![pattern.to_owned()], ..Redaction::default() };
    assert_eq!(code(of_pattern("a(b")), "redaction.pattern");
    assert_eq!(code(of_pattern(r"\w{1,1000}{1,1000}")), "redaction.pattern");
    assert_eq!(code(of_pattern(&"a".repeat(513))), "redaction.pattern");
    assert_eq!(code(of_pattern(r"\d*")), "redaction.empty");
    assert_eq!(code(Redaction { names: vec!["_.-".into()], ..Redaction::default() }), "redaction.name");
    assert_eq!(code(Redaction { names: vec!["a".into(); 65], ..Redaction::default() }), "redaction.too_many");
    insta::assert_snapshot!(
        Redaction::check_pattern("KD-[0-9").unwrap_err(),
        @"`KD-[0-9` can't be used as a pattern: unclosed character class, at character 4"
    );
}

#[test]
fn nothing_is_masked_when_that_is_wanted() {
    let redactor = Redactor::new(&Redaction { secrets: Secrets::Shown, ..Redaction::default() }).unwrap();
    assert!(!redactor.is_secret("password") && !redactor.redact("password=x", &mut String::new()));
}

#[test]
fn no_text_makes_the_search_slow() {
    for piece in
        ["://", "eyJ.", "://a@", "://:/@", "\"password\":\"", "4111 ", "token: X{", "=", "bearer ", "eyJ", "Basic a "]
    {
        // Linear it takes milliseconds, else half a minute: the bound holds on a busy machine too.
        let text = piece.repeat((64 << 10) / piece.len());
        let began = Instant::now();
        redacted(&text);
        assert!(began.elapsed() < Duration::from_secs(5), "{piece}: {:?}", began.elapsed());
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        redacted(&text);
    }

    #[test]
    fn any_text_of_the_dangerous_letters_is_survived(text in "(://|:|=|@|password|token|\"|'|\\\\|Some\\(|bearer |basic |eyJ|4111|-|\\.|ü| |/|a|\\[|\\{|\\}|\\()*") {
        redacted(&text);
    }

    #[test]
    fn a_password_is_never_read_again(password in "[A-Za-z0-9!$%^*+~.-]{6,40}", tail in "( [a-z]+)*") {
        for text in [
            format!("connect postgres://app:{password}@db:5432/orders failed{tail}"),
            format!("host=db password={password}{tail}"),
            format!("{{\"db_password\":\"{password}\"}}{tail}"),
            format!("Config {{ api_key: \"{password}\" }}{tail}"),
            format!("Authorization: Bearer {password}"),
        ] {
            prop_assert!(!redacted(&text).contains(&password), "{}", redacted(&text));
        }
    }
}
