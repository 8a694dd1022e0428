//! Types that a value can be read as. What a value is follows from who asks, never from how it looks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use crate::conceal::masked;
use crate::diagnostics::{Diagnostic, codes, nearest, quoted};
use crate::schema::Schema;
use crate::sources;
use crate::tree::{Interpolation, Node, Value};

mod duration;
pub(crate) mod quantity;

/// A type that a configuration value can be read as.
///
/// Programs implement it for their own enums; [`one_of`] does the work.
///
/// ```
/// use wellkept_config::{Document, FromNode, one_of};
///
/// #[derive(Debug, Clone, Copy)]
/// enum Format {
///     Json,
///     Text,
/// }
///
/// impl FromNode for Format {
///     const EXPECTED: &'static str = "json or text";
///
///     fn from_scalar(text: &str) -> Result<Self, String> {
///         one_of(text, &[("json", Format::Json), ("text", Format::Text)])
///     }
/// }
///
/// let document = Document::parse("app.yaml", "format: jsn").unwrap();
/// let wrong = document.read(|section| section.required::<Format>("format")).unwrap_err();
/// assert_eq!(wrong.to_string(), "app.yaml:1:9: expected json or text, found `jsn` (did you mean `json`?)");
/// ```
pub trait FromNode: Sized {
    /// What is expected, with an example: it completes the sentence "expected …".
    const EXPECTED: &'static str;

    /// Whether values of this type are shown to nobody, as [`SecretString`]'s are. Default no.
    const SECRET: bool = false;

    /// What a value of this type looks like, for editors. Default: like any single value.
    fn schema() -> Schema {
        Schema::Any
    }

    /// The value as one would write it, so that a default can be shown. `None`, the default, when there is no such text
    /// or it must not be shown.
    fn written(&self) -> Option<String> {
        None
    }

    /// Reads the text of a single value, quoted or not. The error is a hint shown in brackets ("add a unit: 10s?"), or
    /// empty. It may hold parts of the text: it is not shown when the text came out of a variable.
    fn from_scalar(text: &str) -> Result<Self, String>;

    /// The code for a text that [`from_scalar`](Self::from_scalar) refused: [`codes::WRONG_TYPE`] unless overridden.
    fn code_for(_text: &str) -> &'static str {
        codes::WRONG_TYPE
    }

    /// How a message shows a refused text, given as written: quoted and cut, with what looks like a secret hidden, unless
    /// overridden by a type whose text may be secret.
    fn shown(written: &str) -> String {
        quoted(&masked(written))
    }

    /// Reads a node. The errors may be none when what is wrong has been reported before, such as a missing variable.
    fn from_node(node: &Node) -> Result<Self, Vec<Diagnostic>> {
        let scalar = match &node.value {
            Value::Scalar(scalar) if !scalar.is_null() => scalar,
            _ => return Err(mismatch::<Self>(node, codes::WRONG_TYPE, node.kind(), "")),
        };
        if matches!(scalar.interpolation, Interpolation::Failed) {
            return Err(Vec::new());
        }
        Self::from_scalar(scalar.text()).map_err(|hint| {
            let hint = if scalar.is_interpolated() { "" } else { &hint };
            mismatch::<Self>(node, Self::code_for(scalar.text()), &Self::shown(&scalar.written), hint)
        })
    }
}

/// The choice that `text` names, for [`FromNode::from_scalar`]; the error is a hint at the nearest one.
pub fn one_of<T: Clone>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    match choices.iter().find(|(word, _)| *word == text) {
        Some((_, choice)) => Ok(choice.clone()),
        None => Err(nearest(text, choices.iter().map(|(word, _)| *word))
            .map(|word| format!("did you mean {}?", quoted(word)))
            .unwrap_or_default()),
    }
}

/// The word for `choice` in a table as [`one_of`] takes it, for [`FromNode::written`].
pub fn word_of<T: PartialEq>(choice: &T, choices: &[(&str, T)]) -> Option<String> {
    choices.iter().find(|(_, known)| known == choice).map(|(word, _)| (*word).to_owned())
}

fn mismatch<T: FromNode>(node: &Node, code: &'static str, found: &str, hint: &str) -> Vec<Diagnostic> {
    let hint = if hint.is_empty() { String::new() } else { format!(" ({hint})") };
    vec![Diagnostic::new(node.position, code, format!("expected {}, found {found}{hint}", T::EXPECTED))]
}

/// `true` or `false`, in the three spellings of the YAML 1.2 core schema (10.3.2). `yes` and `on` are text.
impl FromNode for bool {
    const EXPECTED: &'static str = "true or false";

    fn schema() -> Schema {
        Schema::Boolean
    }

    fn written(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        match text {
            "true" | "True" | "TRUE" => Ok(true),
            "false" | "False" | "FALSE" => Ok(false),
            _ => Err(match text.to_ascii_lowercase().as_str() {
                "yes" | "y" | "on" | "1" => "write true",
                "no" | "n" | "off" | "0" => "write false",
                _ => "",
            }
            .to_owned()),
        }
    }
}

/// A whole number in decimal digits, without a leading zero, which other readers take for octal.
macro_rules! whole_numbers {
    ($($type:ty: $expected:literal),* $(,)?) => {$(
        impl FromNode for $type {
            const EXPECTED: &'static str = $expected;

            fn schema() -> Schema {
                // Of a signed type the greatest is positive, of an unsigned one the least is 0.
                Schema::Whole {
                    least: i64::try_from(<$type>::MIN).unwrap_or_default(),
                    most: u64::try_from(<$type>::MAX).unwrap_or(u64::MAX),
                }
            }

            fn written(&self) -> Option<String> {
                Some(self.to_string())
            }

            fn from_scalar(text: &str) -> Result<Self, String> {
                if !is_whole_number(text) {
                    return Err(whole_number_hint(text));
                }
                text.parse().map_err(|_| format!("from {} to {}", <$type>::MIN, <$type>::MAX))
            }

            fn code_for(text: &str) -> &'static str {
                if is_whole_number(text) { codes::RANGE } else { codes::WRONG_TYPE }
            }
        }
    )*};
}

whole_numbers! {
    u8: "a whole number such as 3",
    u16: "a whole number such as 8080",
    u32: "a whole number such as 3",
    u64: "a whole number such as 1000",
    usize: "a whole number such as 100",
    i64: "a whole number such as 3 or -3",
}

fn is_whole_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits && (digits.len() == 1 || !digits.starts_with('0'))
}

fn whole_number_hint(text: &str) -> String {
    let digits = text.trim_start_matches('0');
    if is_whole_number(digits) {
        return format!("without leading zeros: {digits}?");
    }
    let plain: String = text.chars().filter(|character| !matches!(character, '_' | ',' | ' ')).collect();
    if plain != text && is_whole_number(&plain) { format!("digits only: {plain}?") } else { String::new() }
}

/// A finite number. Infinity and NaN are refused: no setting means them.
impl FromNode for f64 {
    const EXPECTED: &'static str = "a number such as 1.5";

    fn schema() -> Schema {
        Schema::Number { least: Self::NEG_INFINITY, most: Self::INFINITY }
    }

    fn written(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        let is_numeric = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
        match text.parse::<Self>() {
            Ok(number) if is_numeric && number.is_finite() => Ok(number),
            _ => Err(String::new()),
        }
    }
}

/// Any text, with or without quotes: `1.10` is the text `1.10`. Only a missing value is not text; `""` is.
impl FromNode for String {
    const EXPECTED: &'static str = "text";

    fn written(&self) -> Option<String> {
        Some(if self.is_empty() { "\"\"".to_owned() } else { self.clone() })
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

/// Text that is never shown, not in messages either.
impl FromNode for SecretString {
    const EXPECTED: &'static str = "text that is kept secret";
    const SECRET: bool = true;

    fn from_scalar(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }

    fn shown(_written: &str) -> String {
        "a value that is not shown".to_owned()
    }
}

/// A path, taken as it is: relative to the working directory, `~` not expanded.
impl FromNode for PathBuf {
    const EXPECTED: &'static str = "a path such as /var/lib/app";

    fn written(&self) -> Option<String> {
        Some(self.display().to_string())
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') { Err(String::new()) } else { Ok(Self::from(text)) }
    }
}

/// An address and port. `:8080` is all IPv4 addresses; for IPv6 too write `[::]:8080`. Names are not resolved.
impl FromNode for SocketAddr {
    const EXPECTED: &'static str = "an address and port such as 127.0.0.1:8080";

    fn schema() -> Schema {
        Schema::Text { pattern: r".*:[0-9]{1,5}", examples: &["127.0.0.1:8080"] }
    }

    fn written(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        if let Some(port) =
            text.strip_prefix(':').filter(|port| is_whole_number(port)).and_then(|port| port.parse().ok())
        {
            return Ok(Self::from((Ipv4Addr::UNSPECIFIED, port)));
        }
        text.parse().map_err(|_| match text.rsplit_once(':') {
            Some(("localhost", port)) => format!("write 127.0.0.1:{port}"),
            _ if text.parse::<u16>().is_ok() => format!("for all addresses: \":{text}\""),
            _ => match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => format!("add a port: {text}:8080?"),
                Ok(IpAddr::V6(_)) => format!("add a port: [{text}]:8080?"),
                Err(_) => String::new(),
            },
        })
    }
}

/// An absolute URL. Messages hide its user, password and query.
impl FromNode for Url {
    const EXPECTED: &'static str = "a URL such as https://example.com/health";

    fn schema() -> Schema {
        Schema::Text { pattern: r"[A-Za-z][A-Za-z0-9+.-]*:.+", examples: &["https://example.com/health"] }
    }

    fn written(&self) -> Option<String> {
        (self.username().is_empty() && self.password().is_none() && self.query().is_none()).then(|| self.to_string())
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        const ADD_A_SCHEME: &str = "add a scheme, such as https://";
        let url = Self::parse(text).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => ADD_A_SCHEME.to_owned(),
            error => error.to_string(),
        })?;
        // `localhost:8080` and `user:word@host` parse, with a scheme that nobody meant.
        let is_authority = url.path().starts_with(|first: char| first.is_ascii_digit()) || url.path().contains('@');
        if url.cannot_be_a_base() && is_authority { Err(ADD_A_SCHEME.to_owned()) } else { Ok(url) }
    }

    fn shown(written: &str) -> String {
        let (scheme, rest) = written.split_once("://").map_or(("", written), |(scheme, rest)| (scheme, rest));
        let separator = if scheme.is_empty() { "" } else { "://" };
        // The last `@`, not the first: a password that is not encoded, which is a likely mistake, may hold one, or a `/`.
        let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("…@", rest));
        let (rest, query) = rest.split_once(['?', '#']).map_or((rest, ""), |(rest, _)| (rest, "?…"));
        quoted(&format!("{scheme}{separator}{user}{rest}{query}"))
    }
}

/// A list of single values. One value alone is a list of one.
impl<T: FromNode> FromNode for Vec<T> {
    const EXPECTED: &'static str = "a list such as [one, two]";
    const SECRET: bool = T::SECRET;

    fn schema() -> Schema {
        Schema::List(Box::new(T::schema()))
    }

    fn written(&self) -> Option<String> {
        let items = self.iter().map(T::written).collect::<Option<Vec<_>>>()?;
        Some(format!("[{}]", items.join(", ")))
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        T::from_scalar(text).map(|value| vec![value])
    }

    fn from_node(node: &Node) -> Result<Self, Vec<Diagnostic>> {
        match &node.value {
            Value::Sequence(items) => {
                let mut values = Self::with_capacity(items.len());
                let mut wrong = None::<Vec<Diagnostic>>;
                for item in items {
                    match T::from_node(item) {
                        Ok(value) => values.push(value),
                        Err(diagnostics) => wrong.get_or_insert_default().extend(diagnostics),
                    }
                }
                wrong.map_or(Ok(values), Err)
            }
            Value::Scalar(scalar) if scalar.looks_like_given_list() => match sources::given_list(scalar, node.position)
            {
                Some(list) => Self::from_node(&list),
                None => Err(mismatch::<Self>(node, codes::WRONG_TYPE, &T::shown(&scalar.written), "")),
            },
            Value::Scalar(scalar) if !scalar.is_null() => T::from_node(node).map(|value| vec![value]),
            Value::Scalar(_) => {
                Err(mismatch::<Self>(node, codes::WRONG_TYPE, node.kind(), "write [] for an empty list"))
            }
            Value::Mapping(_) => Err(mismatch::<Self>(node, codes::WRONG_TYPE, node.kind(), "")),
        }
    }
}

#[cfg(test)]
mod tests;
