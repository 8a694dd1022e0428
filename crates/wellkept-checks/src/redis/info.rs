//! What `INFO` tells: a few of its lines, and what follows from them.

use wellkept_health::{Outcome, Reason};

/// The lines of `INFO` that matter here. All are optional: forks and old versions leave some out.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Info {
    version: Option<String>,
    role: Option<String>,
    primary_link_is_up: Option<bool>,
    last_save_failed: bool,
    used_memory: Option<u64>,
    maxmemory: Option<u64>,
    machines_memory: Option<u64>,
    evicts: bool,
    clients: Option<u64>,
    hits: Option<u64>,
    misses: Option<u64>,
}

impl Info {
    /// Lines of `name:value`, with headings that begin with `#`.
    pub(super) fn parse(text: &str) -> Self {
        let mut info = Self::default();
        let mut valkey = None;
        for (name, value) in text.lines().filter_map(|line| line.trim_end().split_once(':')) {
            let number = || value.parse::<u64>().ok();
            match name {
                "redis_version" => info.version = Some(value.to_owned()),
                "valkey_version" => valkey = Some(value.to_owned()),
                // The words of the protocol are those of its time.
                "role" => info.role = Some(if value == "master" { "primary" } else { "replica" }.to_owned()),
                "master_link_status" => info.primary_link_is_up = Some(value == "up"),
                "rdb_last_bgsave_status" | "aof_last_write_status" => info.last_save_failed |= value == "err",
                "used_memory" => info.used_memory = number(),
                "maxmemory" => info.maxmemory = number().filter(|limit| *limit > 0),
                "total_system_memory" => info.machines_memory = number().filter(|memory| *memory > 0),
                "maxmemory_policy" => info.evicts = value != "noeviction",
                "connected_clients" => info.clients = number(),
                "keyspace_hits" => info.hits = number(),
                "keyspace_misses" => info.misses = number(),
                _ => {}
            }
        }
        // Valkey names the Redis version that it is compatible with as well.
        info.version = valkey.or(info.version);
        info
    }

    /// What a server that answers `PING` may still suffer from.
    pub(super) fn judge(&self) -> Outcome {
        if self.primary_link_is_up == Some(false) {
            return Outcome::warn(Reason::NotReady, "replica has lost its primary");
        }
        if !self.evicts && self.of_limit().is_some_and(|usage| usage >= 1.0) {
            return Outcome::warn(Reason::Exhausted, "writes are refused as the memory is full");
        }
        if self.last_save_failed {
            return Outcome::warn(Reason::Error, "the data could not be saved");
        }
        Outcome::pass()
    }

    /// Adds the readings.
    pub(super) fn describe(&self, mut outcome: Outcome) -> Outcome {
        let texts = [("server_version", &self.version), ("role", &self.role)];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))) {
            outcome = outcome.with(name, text);
        }
        let numbers = [
            ("connected_clients", self.clients),
            ("used_memory_bytes", self.used_memory),
            ("maxmemory_bytes", self.maxmemory),
        ];
        for (name, number) in numbers.into_iter().filter_map(|(name, number)| Some((name, number?))) {
            outcome = outcome.with(name, number);
        }
        let ratios = [("memory_usage", self.memory_usage()), ("hit_rate", self.hit_rate())];
        for (name, ratio) in ratios.into_iter().filter_map(|(name, ratio)| Some((name, ratio?))) {
            outcome = outcome.with(name, (ratio * 1e4).round() / 1e4);
        }
        outcome
    }

    /// Of the limit, or of the machine's memory where there is no limit.
    fn memory_usage(&self) -> Option<f64> {
        self.of_limit().or_else(|| Some(self.used_memory? as f64 / self.machines_memory? as f64))
    }

    /// May be above 1: what is in buffers to clients counts as used and is not held against the limit at once.
    fn of_limit(&self) -> Option<f64> {
        Some(self.used_memory? as f64 / self.maxmemory? as f64)
    }

    /// `None` before the first read.
    fn hit_rate(&self) -> Option<f64> {
        let (hits, misses) = (self.hits? as f64, self.misses? as f64);
        (hits + misses > 0.0).then(|| hits / (hits + misses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wellkept_health::Verdict;

    const PRIMARY: &str = "# Server\r\nredis_version:7.0.15\r\n# Clients\r\nconnected_clients:3\r\n# Memory\r\n\
        used_memory:450\r\nmaxmemory:1000\r\nmaxmemory_policy:noeviction\r\n# Stats\r\nkeyspace_hits:95\r\n\
        keyspace_misses:5\r\n# Replication\r\nrole:master\r\n# Persistence\r\nrdb_last_bgsave_status:ok\r\n";

    #[test]
    fn the_readings_are_named_and_computed() {
        let info = Info::parse(PRIMARY);
        let outcome = info.describe(info.judge());
        assert_eq!(outcome.verdict(), Verdict::Pass);
        let metadata = serde_json::to_string(outcome.metadata()).unwrap();
        insta::assert_snapshot!(metadata, @r#"{"server_version":"7.0.15","role":"primary","connected_clients":3,"used_memory_bytes":450,"maxmemory_bytes":1000,"memory_usage":0.45,"hit_rate":0.95}"#);
    }

    #[test]
    fn a_server_without_limit_and_reads_has_neither_ratio() {
        let info = Info::parse("used_memory:450\r\nmaxmemory:0\r\nkeyspace_hits:0\r\nkeyspace_misses:0\r\n");
        let outcome = info.describe(info.judge());
        assert_eq!(outcome.metadata().len(), 1, "{:?}", outcome.metadata());
    }

    #[test]
    fn without_a_limit_the_machines_memory_is_what_can_be_used_and_full_is_no_reason_to_warn() {
        let info = Info::parse("used_memory:450\r\nmaxmemory:0\r\ntotal_system_memory:450\r\n");
        let outcome = info.describe(info.judge());
        assert_eq!(outcome.metadata()["memory_usage"], 1.0);
        assert_eq!(outcome.verdict(), Verdict::Pass);
    }

    /// One line replaced, one claim.
    fn verdict_with(from: &str, to: &str) -> (Verdict, String) {
        assert!(PRIMARY.contains(from));
        let outcome = Info::parse(&PRIMARY.replace(from, to)).judge();
        (outcome.verdict(), outcome.message().to_owned())
    }

    #[test]
    fn what_a_pong_does_not_tell_is_a_warning() {
        let lost = verdict_with("role:master", "role:slave\r\nmaster_link_status:down");
        assert_eq!(lost, (Verdict::Warn, "replica has lost its primary".to_owned()));
        let full = verdict_with("used_memory:450", "used_memory:1001");
        assert_eq!(full, (Verdict::Warn, "writes are refused as the memory is full".to_owned()));
        let unsaved = verdict_with("bgsave_status:ok", "bgsave_status:err");
        assert_eq!(unsaved, (Verdict::Warn, "the data could not be saved".to_owned()));
    }

    #[test]
    fn a_full_cache_that_evicts_is_as_it_should_be() {
        let text = PRIMARY.replace("noeviction", "allkeys-lru").replace("used_memory:450", "used_memory:1001");
        assert_eq!(Info::parse(&text).judge().verdict(), Verdict::Pass);
    }

    #[test]
    fn valkeys_own_version_comes_first() {
        let info = Info::parse("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\n");
        assert_eq!(info.version.as_deref(), Some("8.1.0"));
    }
}
