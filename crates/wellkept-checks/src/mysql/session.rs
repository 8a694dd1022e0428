//! One session with a MySQL server: what is asked in it, and what the answers say.

use tokio::time::{Instant, timeout_at};

use super::connection::{Answer, Connection};
use super::failure::Failure;
use crate::findings::Found;

/// Ends the query given by the user; its column's name is how the answers after it are recognised.
const MARK: &str = "SELECT 1 AS wellkept_readings";
const MARK_COLUMN: &str = "wellkept_readings";

/// `super_read_only` is never on without `read_only`. A replica that shares the primary's storage has the second.
const STATE: &str = "SELECT @@global.read_only, @@global.innodb_read_only, @@global.max_connections";

const CONNECTIONS: &str = "SHOW GLOBAL STATUS LIKE 'Threads_%'";

/// When a transaction began is told in the machine's time zone, whatever that of the session is.
const OLDEST: &str =
    "TIMESTAMPDIFF(SECOND, MIN(t.trx_started), CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM'))";
/// A prepared one belongs to no session, and has the number 0.
const TRANSACTIONS: &str = "FROM information_schema.innodb_trx t";

/// An open session. Dropping it closes the connection at once.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    /// Asked in this order after the query. What was refused is left out for good.
    parts: Vec<Part>,
    /// Whether the server takes a limit on how long a statement may run.
    limited: bool,
}

/// What is read of the server beside the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    State,
    Connections,
    Transactions,
    Replication,
}

/// How much is asked of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transactions {
    Oldest,
    /// Also which are idle, for which the server has to look at all sessions.
    OldestAndIdle,
}

/// What one round trip tells.
#[derive(Debug, Default)]
pub(super) struct Readings {
    pub(super) version: String,
    /// The first column of the query's first row.
    pub(super) found: Found,
    /// Nothing when it is hidden from the user or unknown to the server; the same for the other parts.
    pub(super) state: Option<State>,
    pub(super) connections: Option<Connections>,
    pub(super) transactions: Option<OpenTransactions>,
    /// One for each server that is copied.
    pub(super) copies: Option<Vec<Copy>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) read_only: bool,
    pub(super) shares_storage: bool,
    pub(super) max_connections: u64,
}

#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) total: u64,
    /// Of these, those that a statement runs in.
    pub(super) active: u64,
}

#[derive(Debug, Default)]
pub(super) struct OpenTransactions {
    /// In seconds; nothing when there is none.
    pub(super) oldest: Option<f64>,
    /// How many are idle, and for how many seconds the longest.
    pub(super) idle: Option<(u64, Option<f64>)>,
}

/// How the copying from one server goes.
#[derive(Debug, Default)]
pub(super) struct Copy {
    pub(super) receiving: Receiving,
    /// Whether what was received is being applied.
    pub(super) applying: bool,
    /// In seconds; nothing while it is not known.
    pub(super) lag: Option<f64>,
    /// The errors that stopped it, as the server tells them.
    pub(super) errors: String,
}

/// Whether changes are received.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiving {
    #[default]
    Stopped,
    /// The other side is not reached.
    Trying,
    Connected,
}

impl Session {
    pub(super) fn new(connection: Connection) -> Self {
        let parts = vec![Part::State, Part::Connections, Part::Transactions, Part::Replication];
        Self { connection, parts, limited: true }
    }

    /// Asks the query and the readings in one message, so in one round trip. Only where the server refuses a reading,
    /// which it then does in the session's first run, another trip asks for those after it.
    pub(super) async fn ask(
        &mut self,
        query: &str,
        transactions: Transactions,
        deadline: Instant,
    ) -> Result<Readings, Failure> {
        let answered = timeout_at(deadline, self.answer(query, transactions, deadline)).await;
        answered.map_err(|_elapsed| Failure::Timeout("querying"))?
    }

    async fn answer(&mut self, query: &str, asked: Transactions, deadline: Instant) -> Result<Readings, Failure> {
        let mut readings = Readings { version: short(&self.connection.version), ..Readings::default() };
        let mut step = Step::Limit;
        loop {
            let message = self.message(step, query, asked, deadline);
            self.connection.ask(&message).await?;
            let Err(failure) = self.read(&mut step, &mut readings).await else { return Ok(readings) };
            match step {
                Step::Limit if is_unsupported(&failure) && self.limited => self.limited = false,
                // The query has passed: what failed is only our looking, for want of rights or of the view.
                Step::Part(index) if index < self.parts.len() && is_unsupported(&failure) => {
                    self.parts.remove(index);
                    if index >= self.parts.len() {
                        return Ok(readings);
                    }
                }
                _ => return Err(failure),
            }
        }
    }

    /// All that has still to be asked.
    fn message(&self, from: Step, query: &str, asked: Transactions, deadline: Instant) -> String {
        let mut statements = Vec::new();
        let first = match from {
            Step::Part(index) => index,
            Step::Limit | Step::Query => {
                let patience = deadline.saturating_duration_since(Instant::now()).as_millis().max(1);
                let limit = match self.product() {
                    Product::MariaDb => format!("SET max_statement_time = {}", patience as f64 / 1e3),
                    Product::MySql(_) => format!("SET max_execution_time = {patience}"),
                };
                // The line break ends a comment that the query may end with.
                let query = format!("{}\n", query.trim_end().trim_end_matches(';'));
                statements.extend([self.limited.then_some(limit), Some(query)].into_iter().flatten());
                0
            }
        };
        statements.push(MARK.to_owned());
        statements.extend(self.parts.iter().skip(first).map(|part| self.statement(*part, asked)));
        statements.join("; ")
    }

    fn statement(&self, part: Part, asked: Transactions) -> String {
        let is_mariadb = self.product() == Product::MariaDb;
        match (part, asked) {
            (Part::State, _) => STATE.to_owned(),
            (Part::Connections, _) => CONNECTIONS.to_owned(),
            (Part::Transactions, Transactions::Oldest) => {
                format!("SELECT {OLDEST} {TRANSACTIONS} WHERE t.trx_mysql_thread_id <> CONNECTION_ID()")
            }
            (Part::Transactions, Transactions::OldestAndIdle) => {
                let idle = if is_mariadb { "p.time_ms / 1000" } else { "p.time" };
                format!(
                    "SELECT {OLDEST}, COUNT(p.id), MAX({idle}) {TRANSACTIONS} \
                     LEFT JOIN information_schema.processlist p \
                     ON p.id = t.trx_mysql_thread_id AND p.command = 'Sleep' \
                     WHERE t.trx_mysql_thread_id <> CONNECTION_ID()"
                )
            }
            (Part::Replication, _) => match self.product() {
                Product::MariaDb => "SHOW ALL SLAVES STATUS",
                Product::MySql(version) if version >= [8, 0, 22] => "SHOW REPLICA STATUS",
                Product::MySql(_) => "SHOW SLAVE STATUS",
            }
            .to_owned(),
        }
    }

    fn product(&self) -> Product {
        Product::of(&self.connection.version)
    }

    /// Reads the answers to one message. `step` is then whose answer was the last.
    async fn read(&mut self, step: &mut Step, readings: &mut Readings) -> Result<(), Failure> {
        if *step == Step::Limit && !self.limited {
            *step = Step::Query;
        }
        let mut columns = Vec::new();
        let mut at_mark = false;
        loop {
            match self.connection.next().await? {
                Answer::Columns(names) => {
                    at_mark = names.first().is_some_and(|name| name == MARK_COLUMN);
                    columns = names;
                    if let (Step::Part(index), false) = (*step, at_mark) {
                        readings.begin(self.parts.get(index).copied());
                    }
                }
                Answer::Row(_) if at_mark => {}
                Answer::Row(row) => match *step {
                    Step::Part(index) => readings.add(self.parts.get(index).copied(), &columns, &row),
                    Step::Limit | Step::Query => readings.add_found(row),
                },
                Answer::Through => *step = step.next(at_mark),
                Answer::End => return Ok(()),
            }
        }
    }
}

/// Whose answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Limit,
    /// A query may have several answers; the mark is the last of them.
    Query,
    /// By its place among those that are asked.
    Part(usize),
}

impl Step {
    fn next(self, at_mark: bool) -> Self {
        match self {
            Self::Query if at_mark => Self::Part(0),
            Self::Limit | Self::Query => Self::Query,
            // The mark stands before those that are asked again.
            Self::Part(index) if at_mark => Self::Part(index),
            Self::Part(index) => Self::Part(index + 1),
        }
    }
}

/// What differs between the two in what is asked. Others speak like MySQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Product {
    MariaDb,
    MySql([u32; 3]),
}

impl Product {
    fn of(version: &str) -> Self {
        if version.to_ascii_lowercase().contains("mariadb") {
            return Self::MariaDb;
        }
        let mut numbers = version.split(|letter: char| !letter.is_ascii_digit());
        Self::MySql(std::array::from_fn(|_| numbers.next().and_then(|number| number.parse().ok()).unwrap_or_default()))
    }
}

impl Readings {
    fn add_found(&mut self, row: Vec<Option<String>>) {
        if self.found == Found::NoRow {
            self.found = row.into_iter().next().flatten().map_or(Found::Null, Found::Value);
        }
    }

    /// A part that has no rows was answered all the same.
    fn begin(&mut self, part: Option<Part>) {
        match part {
            Some(Part::Connections) => self.connections = Some(Connections::default()),
            Some(Part::Replication) => self.copies = Some(Vec::new()),
            Some(Part::State | Part::Transactions) | None => {}
        }
    }

    fn add(&mut self, part: Option<Part>, columns: &[String], row: &[Option<String>]) {
        let text = |column: usize| row.get(column)?.as_deref();
        let number = |column| text(column)?.parse::<u64>().ok();
        let seconds = |column| text(column)?.parse::<f64>().ok().map(|seconds| seconds.max(0.0));
        let is_on = |column| text(column).is_some_and(|text| !matches!(text, "0" | "OFF"));
        match part {
            Some(Part::State) => {
                let max_connections = number(2).unwrap_or_default();
                self.state = Some(State { read_only: is_on(0), shares_storage: is_on(1), max_connections });
            }
            Some(Part::Connections) => {
                let connections = self.connections.get_or_insert_default();
                match text(0) {
                    Some("Threads_connected") => connections.total = number(1).unwrap_or_default(),
                    Some("Threads_running") => connections.active = number(1).unwrap_or_default(),
                    _ => {}
                }
            }
            Some(Part::Transactions) => {
                let idle = (columns.len() > 1).then(|| (number(1).unwrap_or_default(), seconds(2)));
                self.transactions = Some(OpenTransactions { oldest: seconds(0), idle });
            }
            Some(Part::Replication) => self.copies.get_or_insert_default().extend(Copy::of(columns, row)),
            None => {}
        }
    }
}

impl Copy {
    /// By the names of the columns, which are many and differ. Channels of group replication are not told by what an
    /// ordinary one is told by: they rest when all is well.
    fn of(columns: &[String], row: &[Option<String>]) -> Option<Self> {
        let named = |names: [&str; 2]| {
            let index = columns.iter().position(|column| names.contains(&column.as_str()))?;
            row.get(index)?.as_deref()
        };
        if named(["Channel_Name", ""]).is_some_and(|name| name.starts_with("group_replication_")) {
            return None;
        }
        let receiving = match named(["Slave_IO_Running", "Replica_IO_Running"]) {
            Some("Yes") => Receiving::Connected,
            Some("No") | None => Receiving::Stopped,
            Some(_) => Receiving::Trying,
        };
        let errors = [named(["Last_IO_Error", ""]), named(["Last_SQL_Error", ""])];
        let errors: Vec<_> = errors.into_iter().flatten().filter(|error| !error.is_empty()).collect();
        Some(Self {
            receiving,
            applying: named(["Slave_SQL_Running", "Replica_SQL_Running"]) == Some("Yes"),
            lag: named(["Seconds_Behind_Master", "Seconds_Behind_Source"]).and_then(|lag| lag.parse().ok()),
            errors: errors.join("; "),
        })
    }
}

/// The numbers and, if it stands beside them, the name of the product: what follows is the packager's.
fn short(version: &str) -> String {
    let mut parts = version.split('-');
    let numbers = parts.next().unwrap_or_default();
    match parts.next().filter(|name| name.chars().all(char::is_alphabetic) && *name != "log") {
        Some(name) => format!("{numbers}-{name}"),
        None => numbers.to_owned(),
    }
}

/// The SQLSTATE's class 42 (unknown, or not permitted), an unknown variable, and what proxies refuse with.
fn is_unsupported(failure: &Failure) -> bool {
    let Failure::Refused(refusal) = failure else { return false };
    refusal.state.starts_with("42") || matches!(refusal.code, 1105 | 1193)
}
