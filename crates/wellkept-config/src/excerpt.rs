//! The offending line under a message, with a mark below it. Shows keys, and of values no more than the message does.

use std::fmt;

use crate::diagnostics::{Diagnostic, codes};

/// How much of a key or value is shown, in characters.
const MAX_SHOWN: usize = 60;

/// The deepest indentation that is shown as it is.
const MAX_INDENTATION: usize = 40;

/// What stands in place of what is left out: other values, which may be secrets, on the same line.
const LEFT_OUT: char = '…';

/// One line of a file, with what is wrong in it marked. Shown as two lines, without a newline at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    line: u32,
    text: String,
    /// Where the mark begins, in characters of `text` from 0, and how many it is.
    mark: (usize, usize),
}

impl Excerpt {
    /// What to show of the line that a diagnostic is about; nothing where the file ends before it.
    pub(crate) fn of(line: &str, diagnostic: &Diagnostic) -> Option<Self> {
        let at = (diagnostic.position.column as usize).checked_sub(1)?;
        let offset = match line.char_indices().nth(at) {
            Some((offset, _)) => offset,
            // Just behind the last character: something is missing there.
            None if line.chars().count() == at => line.len(),
            None => return None,
        };
        let (before, from) = line.split_at_checked(offset)?;
        let lead = lead(before, from);
        let token = match diagnostic.code {
            codes::SYNTAX if from.starts_with(':') && lead.ends_with(|last: char| !last.is_whitespace()) => {
                Token::Opening(":")
            }
            // The parser did not understand the line, so that what it points at can be part of anything.
            codes::SYNTAX => Token::Hidden,
            _ => Token::at(from, before.contains(['{', '['])),
        };
        let (shown, rest) = match token {
            Token::Key(key) => (cut(key), ": …"),
            Token::Opening(sign) => (sign.to_owned(), " …"),
            // The message has been made so that it shows no secret.
            Token::Value(value) if diagnostic.message.contains(&format!("`{value}`")) => (cut(value), ""),
            Token::Value(_) | Token::Hidden => (LEFT_OUT.to_string(), ""),
        };
        let mark = (lead.chars().count(), shown.chars().count());
        let text = [&*lead, &*shown, rest].concat();
        Some(Self { line: diagnostic.position.line, text: text.chars().map(visible).collect(), mark })
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, text, mark: (begin, length) } = self;
        let number = line.to_string();
        let margin = number.len().max(3);
        writeln!(formatter, "{number:>margin$} | {text}")?;
        write!(formatter, "{:margin$} | {:begin$}{}", "", "", "^".repeat(*length))
    }
}

/// What stands at the place of the error.
enum Token<'l> {
    /// A key; its value may be anything.
    Key(&'l str),
    /// A sign after which a value begins: of a list, of a mapping, of a key.
    Opening(&'l str),
    /// A value, without its quotes.
    Value(&'l str),
    /// Nothing that could be told.
    Hidden,
}

impl<'l> Token<'l> {
    fn at(from: &'l str, in_flow: bool) -> Self {
        let (text, after) = match from.chars().next() {
            None => return Self::Hidden,
            Some('{') => return Self::Opening("{"),
            Some('[') => return Self::Opening("["),
            Some(quote @ ('"' | '\'')) => match from[1..].split_once(quote) {
                Some(parts) => parts,
                None => return Self::Hidden,
            },
            Some(_) => {
                let mut previous = ' ';
                let ends = |(offset, letter): (usize, char)| {
                    let is_end = match letter {
                        ':' => from[offset + 1..].chars().next().is_none_or(char::is_whitespace),
                        '#' => previous == ' ',
                        ',' | ']' | '}' => in_flow,
                        _ => false,
                    };
                    previous = letter;
                    is_end.then_some(offset)
                };
                let end = from.char_indices().find_map(ends).unwrap_or(from.len());
                (from[..end].trim_end(), &from[end..])
            }
        };
        if after.trim_start().starts_with(':') { Self::Key(text) } else { Self::Value(text) }
    }
}

/// What is shown before the place of the error: the indentation, dashes, and the key that the value is under.
fn lead(before: &str, from: &str) -> String {
    let begins = before.trim_start_matches([' ', '\t', '-', '?']);
    let (indentation, rest) = before.split_at(before.len() - begins.len());
    let indentation = match indentation.char_indices().nth(MAX_INDENTATION) {
        Some((offset, _)) => format!("{LEFT_OUT}{}", &indentation[offset..].chars().rev().take(2).collect::<String>()),
        None => indentation.to_owned(),
    };
    if rest.is_empty() || (is_word(rest) && from.starts_with(':')) {
        return indentation + rest;
    }
    // In `{ a: 1, b: 2 }` what is before `b` may be a secret.
    let nearest = rest.rfind(['{', '[', ',']).map_or(0, |offset| offset + 1);
    let left_out = if nearest > 0 { format!("{LEFT_OUT} ") } else { String::new() };
    let near = rest[nearest..].trim_start();
    match near.split_once(':') {
        None if near.is_empty() => indentation + &left_out,
        Some((key, value)) if is_word(key) && value.trim().is_empty() => indentation + &left_out + key + ": ",
        // Something of the key's value stands before.
        Some((key, _)) if nearest == 0 && is_word(key) => format!("{indentation}{key}: "),
        _ => indentation,
    }
}

/// Whether it looks like a key, not like a value.
fn is_word(text: &str) -> bool {
    let text = text.trim_matches(['"', '\'']);
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '$');
    (1..=MAX_SHOWN).contains(&text.len()) && text.chars().all(is_letter)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((offset, _)) => format!("{}{LEFT_OUT}", &text[..offset]),
        None => text.to_owned(),
    }
}

/// One character each, so that the mark stays in its place.
fn visible(letter: char) -> char {
    match letter {
        '\t' => '→',
        '"' | '\'' | '\\' => letter,
        _ if letter.escape_debug().len() > 1 => '\u{fffd}',
        _ => letter,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use url::Url;

    use crate::{Diagnostics, Document};

    fn refused(text: &str) -> String {
        let read = |document: Document| {
            let document = document.interpolate_deferring(&|_| Some("hunter2".to_owned()));
            document.read(|root| {
                root.list("checks", |check| {
                    let asked = (check.required::<String>("name"), check.optional::<Duration>("interval"));
                    let more = (check.optional::<Url>("url"), check.section("http", |_| Some(())));
                    check.complete();
                    Some((asked, more))
                });
                root.optional::<SocketAddr>("listen");
                root.secret("password");
                root.complete();
                Some(())
            })
        };
        let refused: Diagnostics = Document::parse_deferring("app.yaml", text).and_then(read).expect_err("refused");
        refused.with_excerpts().to_string()
    }

    #[test]
    fn the_offending_word_is_marked() {
        insta::assert_snapshot!(refused("listen: 80\nchecks:\n- intervall: 10s\n  name: [a]\n- { name: x, interval: 5 }\n- { name: x, 'http': 5 } # no\n-   interval: ten # seconds\n"), @r#"
        app.yaml:1:9: expected an address and port such as 127.0.0.1:8080, found `80` (for all addresses: ":80")
          1 | listen: 80
            |         ^^
        app.yaml:3:3: unknown key `intervall`, did you mean `interval`?
          3 | - intervall: …
            |   ^^^^^^^^^
        app.yaml:4:9: expected text, found a list
          4 |   name: [ …
            |         ^
        app.yaml:5:24: expected a duration such as 10s or 250ms, found `5` (add a unit: 5s?)
          5 | - … interval: 5
            |               ^
        app.yaml:6:22: expected a mapping such as `key: value`, found a single value
          6 | - … 'http': …
            |             ^
        app.yaml:7:5: missing key `name`: expected text
          7 | -   interval: …
            |     ^^^^^^^^
        app.yaml:7:15: expected a duration such as 10s or 250ms, found `ten`
          7 | -   interval: ten
            |               ^^^
        "#);
    }

    #[test]
    fn no_secret_is_shown() {
        for text in [
            "checks:\n- { passwort: hunter2, name: x }\n",
            "checks:\n- { name: x, passwort: hunter2 }\n",
            "checks: [{ name: x, passwort: hunter2, interval: 5 }]\n",
            "checks: [{ passwort: 'hunter2, x: ', interval: 5 }]\n",
            "checks:\n- url: http:hunter2@host/\n  name: x\n- url: 'ftp//a:hunter2@host'\n  name: x",
            "passwort: hunter2\n",
            "password: hunter2\npassword_file: /hunter2\n",
            "password: [hunter2]\n",
            "password: hunter2: x\n",
            "password: 'hunter2\n",
            "password: \"a\n  hunter2\\q\"\n",
            "password: |\n hunter2\n  hunter2\nhunter2\n",
            "{ password: hunter2, listen: ${X} }\n",
            "listen: \"${X}hunter\"\npasswort: ${X}\n",
            "password: @hunter2\n",
            "a: { password: hunter2\n",
        ] {
            let shown = refused(text);
            let leaks = shown.lines().any(|line| line.contains(" | ") && line.contains("hunter2"));
            assert!(!leaks, "{text}\n{shown}");
        }
    }

    #[test]
    fn what_the_parser_does_not_understand_is_shown_up_to_the_key() {
        insta::assert_snapshot!(refused("a:\n\tb: 1\n"), @"
        app.yaml:2:2: not valid YAML: a tab in the indentation: use spaces
          2 | →…
            |  ^
        ");
        insta::assert_snapshot!(refused("a: 1\n  b: 2\n"), @"
        app.yaml:2:4: not valid YAML: a colon that is out of place: check the indentation, or put a value that contains `: ` in quotes
          2 |   b: …
            |    ^
        ");
        insta::assert_snapshot!(refused("password: hunter2: x\n"), @"
        app.yaml:1:18: not valid YAML: a colon that is out of place: check the indentation, or put a value that contains `: ` in quotes
          1 | password: …
            |           ^
        ");
        insta::assert_snapshot!(refused("checks:\n- name: @x\n"), @"
        app.yaml:2:9: not valid YAML: a value can't begin with this character: put it in quotes
          2 | - name: …
            |         ^
        ");
        insta::assert_snapshot!(refused("a: [1, 2\n"), @"app.yaml:2:1: not valid YAML: a comma or a `]` is missing");
    }

    #[test]
    fn a_mark_stays_in_its_place_whatever_the_line_holds() {
        insta::assert_snapshot!(refused(&format!("checks:\n- {{ {}: 1 }}\n", "é".repeat(100))), @"
        app.yaml:2:3: missing key `name`: expected text
          2 | - { …
            |   ^
        app.yaml:2:5: unknown key `éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé…`
          2 | - … éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé…: …
            |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        ");
        insta::assert_snapshot!(refused(&format!("{}listen: 80\n", " ".repeat(100))), @r#"
        app.yaml:1:109: expected an address and port such as 127.0.0.1:8080, found `80` (for all addresses: ":80")
          1 | …  listen: 80
            |            ^^
        "#);
        insta::assert_snapshot!(refused("\"a\\tb\": 80\n\"c\u{a0}d\": 1\n"), @r#"
        app.yaml:1:1: unknown key `a\tb`
          1 | a\tb: …
            | ^^^^
        app.yaml:2:1: unknown key `c\u{a0}d`
          2 | c�d: …
            | ^^^
        "#);
    }
}
