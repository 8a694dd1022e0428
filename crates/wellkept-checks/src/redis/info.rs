//! What a server tells in `INFO` and `CLUSTER INFO`: lines by their names, and the figures that follow from them.

use std::collections::HashMap;

/// Lines of `name:value`. All are optional: forks and old versions leave some out.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Info(HashMap<String, String>);

/// Which kind of server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One that holds data by itself.
    Standalone,
    /// A node of a Redis Cluster.
    Cluster,
    /// One that holds no data, and watches over those that do.
    Sentinel,
}

/// A primary that a Sentinel watches over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) name: String,
    /// `ok`, `sdown` when this Sentinel does not reach it, `odown` when enough of them do not.
    pub(super) status: String,
    pub(super) replicas: Option<u64>,
    pub(super) sentinels: Option<u64>,
}

impl Info {
    /// Headings, which begin with `#`, are passed over.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Self(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// `None` also for what is below zero, which means that there is none yet.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.text(name) == Some(value)
    }

    /// Valkey names the Redis version that it is compatible with as well.
    pub(super) fn version(&self) -> Option<&str> {
        self.text("valkey_version").or_else(|| self.text("redis_version"))
    }

    pub(super) fn product(&self) -> Option<&'static str> {
        self.version().map(|_| if self.text("valkey_version").is_some() { "valkey" } else { "redis" })
    }

    pub(super) fn mode(&self) -> Option<Mode> {
        match self.text("redis_mode").or_else(|| self.text("server_mode"))? {
            "sentinel" => Some(Mode::Sentinel),
            "cluster" => Some(Mode::Cluster),
            _ => Some(Mode::Standalone),
        }
    }

    /// The words of the protocol are those of its time.
    pub(super) fn role(&self) -> Option<&'static str> {
        self.text("role").map(|role| if role == "master" { "primary" } else { "replica" })
    }

    /// Whether a replica is connected to its primary and copies it.
    pub(super) fn link_is_up(&self) -> Option<bool> {
        self.text("master_link_status").map(|status| status == "up")
    }

    /// Whether a replica is getting its first copy of all the data.
    pub(super) fn is_copying(&self) -> bool {
        self.is("master_sync_in_progress", "1")
    }

    /// On a replica, the seconds since it heard from its primary, infinite when it never has; on a primary, those since
    /// the replica that it has heard least of answered it.
    pub(super) fn lag(&self) -> Option<f64> {
        match self.link_is_up() {
            Some(true) => self.number("master_last_io_seconds_ago").map(|seconds| seconds as f64),
            Some(false) => {
                Some(self.number("master_link_down_since_seconds").map_or(f64::INFINITY, |seconds| seconds as f64))
            }
            None => self.of_replicas("lag").max().map(|seconds| seconds as f64),
        }
    }

    /// The bytes that a replica has received and not applied, or that the slowest connected replica has not confirmed.
    pub(super) fn lag_bytes(&self) -> Option<u64> {
        if self.link_is_up().is_some() {
            return Some(self.number("slave_read_repl_offset")?.saturating_sub(self.number("slave_repl_offset")?));
        }
        let slowest = self.of_replicas("offset").min()?;
        Some(self.number("master_repl_offset")?.saturating_sub(slowest))
    }

    /// One figure of each replica that is connected and has its copy: `slave0:ip=…,port=…,state=online,offset=…,lag=…`.
    fn of_replicas<'i>(&'i self, figure: &'i str) -> impl Iterator<Item = u64> + 'i {
        let replicas = self.numbered("slave").filter(|parts| part(parts, "state") == Some("online"));
        replicas.filter_map(move |parts| part(parts, figure)?.parse().ok())
    }

    /// What a Sentinel says of those that it watches over: `master0:name=…,status=ok,address=…,slaves=1,sentinels=3`.
    pub(super) fn watched(&self) -> Vec<Watched> {
        let read = |parts: &str| {
            let number = |name: &str| part(parts, name)?.parse().ok();
            Some(Watched {
                name: part(parts, "name")?.to_owned(),
                status: part(parts, "status")?.to_owned(),
                replicas: number("slaves"),
                sentinels: number("sentinels"),
            })
        };
        self.numbered("master").filter_map(read).collect()
    }

    /// The values of `word0`, `word1` and so on, in that order.
    fn numbered<'i>(&'i self, word: &'i str) -> impl Iterator<Item = &'i str> + 'i {
        (0..self.0.len()).map_while(move |number| self.text(&format!("{word}{number}")))
    }

    /// Whether the server could not write its data down the last time.
    pub(super) fn last_save_failed(&self) -> bool {
        self.is("rdb_last_bgsave_status", "err") || self.is("aof_last_write_status", "err")
    }

    pub(super) fn is_loading(&self) -> bool {
        self.is("loading", "1")
    }

    /// The limit of memory, if there is one.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        self.number("maxmemory").filter(|limit| *limit > 0)
    }

    /// What counts against the limit: not the buffers to replicas and files.
    fn counted_memory(&self) -> Option<u64> {
        Some(self.number("used_memory")?.saturating_sub(self.number("mem_not_counted_for_evict").unwrap_or_default()))
    }

    /// Whether there is a limit of memory that is never made room under.
    pub(super) fn refuses_when_full(&self) -> bool {
        self.memory_limit().is_some() && self.text("maxmemory_policy").is_none_or(|policy| policy == "noeviction")
    }

    /// What is left below the limit, in bytes.
    pub(super) fn memory_left(&self) -> Option<u64> {
        Some(self.memory_limit()?.saturating_sub(self.counted_memory()?))
    }

    /// Of the limit, or of the machine's memory where there is none. May be above 1: what is in buffers to clients counts
    /// as used and is not held against the limit at once.
    pub(super) fn memory_usage(&self) -> Option<f64> {
        if let Some(limit) = self.memory_limit() {
            return Some(self.counted_memory()? as f64 / limit as f64);
        }
        let machines = self.number("total_system_memory").filter(|memory| *memory > 0)?;
        Some(self.number("used_memory")? as f64 / machines as f64)
    }

    /// How many connections are left, and which part of all is in use.
    pub(super) fn connections(&self) -> Option<(u64, f64)> {
        let max = self.number("maxclients").filter(|max| *max > 0)?;
        let total = self.number("connected_clients")? + self.number("cluster_connections").unwrap_or_default();
        Some((max.saturating_sub(total), total as f64 / max as f64))
    }

    /// `None` before the first read.
    pub(super) fn hit_rate(&self) -> Option<f64> {
        let (hits, misses) = (self.number("keyspace_hits")? as f64, self.number("keyspace_misses")? as f64);
        (hits + misses > 0.0).then(|| hits / (hits + misses))
    }
}

/// Of `name=value,name=value`.
fn part<'p>(parts: &'p str, name: &str) -> Option<&'p str> {
    parts.split(',').find_map(|part| part.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn valkeys_own_version_comes_first() {
        let info = Info::parse("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\nserver_mode:cluster\r\n");
        assert_eq!((info.version(), info.product(), info.mode()), (Some("8.1.0"), Some("valkey"), Some(Mode::Cluster)));
        assert_eq!(Info::parse("redis_version:7.0.15\r\n").product(), Some("redis"));
    }

    #[test]
    fn the_lag_of_a_primary_is_that_of_its_slowest_replica_that_has_a_copy() {
        let info = Info::parse(
            "role:master\r\nconnected_slaves:3\r\nslave0:ip=::1,port=1,state=online,offset=90,lag=1\r\n\
             slave1:ip=::1,port=2,state=online,offset=40,lag=7\r\nslave2:ip=::1,port=3,state=wait_bgsave,offset=0,lag=90\r\n\
             master_repl_offset:100\r\n",
        );
        assert_eq!((info.lag(), info.lag_bytes()), (Some(7.0), Some(60)));
        let alone = Info::parse("role:master\r\nmaster_repl_offset:100\r\n");
        assert_eq!((alone.lag(), alone.lag_bytes()), (None, None));
    }

    #[test]
    fn the_lag_of_a_replica_is_the_time_since_it_heard_from_its_primary() {
        let up = Info::parse("master_link_status:up\r\nmaster_last_io_seconds_ago:4\r\nslave_read_repl_offset:9\r\nslave_repl_offset:7\r\n");
        assert_eq!((up.lag(), up.lag_bytes()), (Some(4.0), Some(2)));
        let down = "master_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\nmaster_link_down_since_seconds:";
        assert_eq!(Info::parse(&format!("{down}12")).lag(), Some(12.0));
        assert_eq!(Info::parse(&format!("{down}-1")).lag(), Some(f64::INFINITY), "there was never a link");
    }

    #[test]
    fn buffers_to_replicas_do_not_fill_the_memory() {
        let info = Info::parse("used_memory:900\r\nmaxmemory:1000\r\nmem_not_counted_for_evict:400\r\n");
        assert_eq!((info.memory_usage(), info.memory_left()), (Some(0.5), Some(500)));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "((master|slave)[0-9]{1,2}:|maxclients:|[a-z_]{0,9}:)?.{0,40}") {
            let info = Info::parse(&text);
            let _ = (info.mode(), info.lag(), info.lag_bytes(), info.watched(), info.connections(), info.memory_usage());
        }
    }
}
