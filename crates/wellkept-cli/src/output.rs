//! What is printed: data to standard output, messages to standard error, colours only on a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use wellkept::Status;
use wellkept::health::wire;

/// Prints to standard output. A reader that has gone, as `head` does, is no failure.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Prints JSON to standard output, indented for people.
pub(crate) fn print_json(value: &impl serde::Serialize) {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    print(&format!("{text}\n"));
}

/// Prints a message to standard error, each line marked as the program's.
pub(crate) fn error(message: &str) {
    let mut err = std::io::stderr().lock();
    for line in message.lines() {
        drop(writeln!(err, "wellkept: {line}"));
    }
}

/// A table whose columns are as wide as their widest cell. The last column is not padded.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

/// One cell: text, and how it is coloured on a terminal.
#[derive(Debug)]
pub(crate) struct Cell {
    text: String,
    status: Option<Status>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|title| Cell::from(*title)).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text. Words carry the meaning; colours only repeat it.
    pub(crate) fn render(&self, colours: Colours) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let padding = width - cell.text.chars().count();
                // Writing to a String can't fail.
                let _ = write!(line, "{}{:padding$}  ", cell.painted(colours), "");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

impl Cell {
    pub(crate) fn status(status: Status) -> Self {
        Self { text: status.to_string(), status: Some(status) }
    }

    fn painted(&self, colours: Colours) -> String {
        let colour = match (colours, self.status) {
            (Colours::Off, _) | (_, None) => return self.text.clone(),
            (Colours::On, Some(Status::Healthy)) => 32,
            (Colours::On, Some(Status::Degraded | Status::Maintenance)) => 33,
            (Colours::On, Some(Status::Unhealthy)) => 31,
            (Colours::On, Some(Status::Unknown)) => 36,
        };
        format!("\u{1b}[{colour}m{}\u{1b}[0m", self.text)
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: escaped(text.as_ref()), status: None }
    }
}

/// What a component consists of, on all levels: each with its name, moved in by its level.
pub(crate) fn indented(parts: &BTreeMap<String, wire::Part>, level: usize) -> Vec<(String, &wire::Part)> {
    let mut rows = Vec::new();
    for (name, part) in parts {
        rows.push((format!("{:1$}{name}", "", 2 * level), part));
        rows.extend(indented(&part.components, level + 1));
    }
    rows
}

/// The text with its control characters escaped: what a server or a file says must not write to the terminal.
pub(crate) fn escaped(text: &str) -> String {
    let letters = text.chars().flat_map(|letter| {
        let escaped = letter.is_control().then(|| letter.escape_default());
        let plain = (!letter.is_control()).then_some(letter);
        escaped.into_iter().flatten().chain(plain)
    });
    letters.collect()
}

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    On,
    Off,
}

impl Colours {
    /// On when standard output is a terminal and `NO_COLOR` is not set (no-color.org).
    pub(crate) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::stdout().is_terminal() && !refused { Self::On } else { Self::Off }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row([Cell::from("orders-db"), Cell::status(Status::Unhealthy)]);
        table.row([Cell::from("ü"), Cell::from("")]);
        insta::assert_snapshot!(table.render(Colours::Off), @r"
        NAME       STATUS
        orders-db  unhealthy
        ü
        ");
        assert!(table.render(Colours::On).contains("\u{1b}[31munhealthy\u{1b}[0m"));
    }

    #[test]
    fn a_servers_text_cannot_write_to_the_terminal() {
        assert_eq!(Cell::from("a\u{1b}[2J\nb").text, "a\\u{1b}[2J\\nb");
    }
}
