//! A client of Kafka's for the tests: produces, consumes in a group, and tells what a cluster holds, by librdkafka.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::python;

const PACKAGES: &[&str] = &["confluent-kafka==2.16.1"];
const PROGRAM: &str = include_str!("kafka/client.py");
/// A group's first assignment takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that does what it is told. Dropping it ends it, with the members of groups that it holds.
#[derive(Debug)]
pub struct KafkaClient {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
    _folder: TempDir,
}

impl KafkaClient {
    /// A client of these brokers: `host:port`, separated by commas. The first ever takes long: librdkafka is installed.
    ///
    /// # Panics
    /// When it can't be installed.
    pub fn start(brokers: &str) -> Self {
        Self::start_with(&json!({ "bootstrap.servers": brokers }))
    }

    /// A client, and a cluster of so many brokers that librdkafka plays for it in its own process: another
    /// implementation of the protocol, with leaders on all brokers.
    ///
    /// # Panics
    /// When it can't be installed.
    pub fn with_own_cluster(brokers: usize) -> Self {
        Self::start_with(&json!({ "test.mock.num.brokers": brokers, "bootstrap.servers": "unused" }))
    }

    fn start_with(settings: &Value) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-kafka-").tempdir().expect("a temporary folder");
        let program = folder.path().join("client.py");
        fs::write(&program, PROGRAM).expect("the folder can be written");
        let mut child = Command::new(python::environment(PACKAGES).join("python"))
            .arg(&program)
            .arg(settings.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python runs");
        let output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let (sender, answers) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { orders: child.stdin.take(), child, answers, _folder: folder }
    }

    /// The brokers as the cluster names them, each `host:port`.
    pub fn brokers(&mut self) -> Vec<String> {
        texts(&self.told(&json!(["brokers"])))
    }

    /// Makes a topic.
    pub fn create(&mut self, topic: &str, partitions: usize) {
        self.told(&json!(["create", topic, partitions]));
    }

    /// Produces messages into a partition, each in a batch of its own.
    pub fn produce(&mut self, topic: &str, partition: i32, messages: usize) {
        self.told(&json!(["produce", topic, partition, messages]));
    }

    /// Joins a group as one more member, and waits until it has partitions of the topic.
    pub fn join(&mut self, group: &str, topic: &str) {
        self.told(&json!(["join", group, topic]));
    }

    /// Has the member of a group take so many messages, and commits them.
    pub fn take(&mut self, group: &str, messages: usize) {
        self.told(&json!(["take", group, messages]));
    }

    /// Ends the member of a group.
    pub fn leave(&mut self, group: &str) {
        self.told(&json!(["leave", group]));
    }

    /// Commits an offset for a group that nobody is in.
    pub fn commit(&mut self, group: &str, topic: &str, partition: i32, offset: i64) {
        self.told(&json!(["commit", group, topic, partition, offset]));
    }

    /// All topics and their numbers of partitions.
    pub fn topics(&mut self) -> Value {
        self.told(&json!(["topics"]))
    }

    /// All topics and their numbers of partitions, all groups, and where each topic's partitions end.
    pub fn everything(&mut self) -> Value {
        self.told(&json!(["everything"]))
    }

    fn told(&mut self, order: &Value) -> Value {
        let orders = self.orders.as_mut().expect("it was not dropped");
        writeln!(orders, "{order}").and_then(|()| orders.flush()).expect("the client listens");
        let answer = self.answers.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{order}: {error}"));
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{order}: {error}: {answer}"));
        assert!(answer.get("error").is_none(), "{order}: {answer}");
        answer["done"].clone()
    }
}

impl Drop for KafkaClient {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
