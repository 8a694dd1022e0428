//! Which names say that their value is a secret.

/// The built-in names and one's own.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Without separators and in lower case.
    own: Vec<String>,
}

impl Names {
    pub(super) fn new(own: &[String]) -> Self {
        let plain = |name: &String| name.chars().filter(|it| !is_separator(*it)).flat_map(char::to_lowercase).collect();
        Self { own: own.iter().map(plain).collect() }
    }

    /// Whether values under this name are secrets.
    pub(super) fn hold(&self, name: &str) -> bool {
        let built_in = match name.trim_end_matches(is_separator).as_bytes() {
            [.., before, last] => built_in([before.to_ascii_lowercase(), last.to_ascii_lowercase()])
                .iter()
                .any(|secret| ends_with(name, secret)),
            _ => false,
        };
        built_in || self.own.iter().any(|own| ends_with(name, own))
    }
}

/// Names whose values are secrets, without separators and in lower case. A name that ends with one counts too:
/// `db_password`, `X-Api-Key`, `accessToken`. They are found by their last two letters, since texts are asked for them at
/// each `=`.
fn built_in(last_letters: [u8; 2]) -> &'static [&'static str] {
    match &last_letters {
        b"al" => &["credential"],
        b"en" => &["token"],
        b"er" => &["cardnumber"],
        b"et" => &["secret"],
        b"ey" => &["apikey", "accesskey", "privatekey", "secretkey", "signingkey", "encryptionkey"],
        b"id" => &["sessionid"],
        b"ie" => &["cookie"],
        b"ls" => &["credentials"],
        b"on" => &["authorization"],
        b"rd" => &["password"],
        b"se" => &["passphrase"],
        b"wd" => &["passwd", "pwd"],
        b"wt" => &["jwt"],
        _ => &[],
    }
}

fn is_separator(letter: char) -> bool {
    matches!(letter, '_' | '-' | '.' | ' ')
}

/// Whether `name` ends with `suffix` when case and separators don't count.
pub(super) fn ends_with(name: &str, suffix: &str) -> bool {
    let mut letters = name.chars().rev().filter(|&letter| !is_separator(letter));
    suffix.chars().rev().all(|wanted| {
        letters.next().is_some_and(|letter| letter == wanted || letter.to_lowercase().eq(std::iter::once(wanted)))
    })
}
