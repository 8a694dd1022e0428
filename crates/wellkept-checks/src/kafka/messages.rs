//! What brokers are asked, in the versions that Kafka has had since 0.11. What they answer is in `answer`.

mod answer;

pub(super) use self::answer::{Answer, Broker, Cluster, Topic, Replicas};
use super::wire::{Form, Writer};

/// A partition of a topic.
pub(super) type Partition = (String, i32);

/// Partitions by their topic.
pub(super) type ByTopic = Vec<(String, Vec<i32>)>;

/// What can be asked for, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Api {
    ListOffsets = 2,
    Metadata = 3,
    OffsetFetch = 9,
    FindCoordinator = 10,
    DescribeGroups = 15,
    SaslHandshake = 17,
    Versions = 18,
    SaslAuthenticate = 36,
    ConsumerGroupDescribe = 69,
}

impl Api {
    /// The first and the last version that is spoken here.
    pub(super) fn versions(self) -> (i16, i16) {
        match self {
            Self::ListOffsets => (1, 7),
            // Older ones can't ask without making the topic.
            Self::Metadata => (4, 12),
            Self::OffsetFetch => (2, 8),
            Self::FindCoordinator => (1, 4),
            Self::DescribeGroups => (0, 6),
            Self::SaslHandshake => (1, 1),
            // Understood by every broker, also by those that would refuse a later one.
            Self::Versions => (0, 0),
            Self::SaslAuthenticate => (0, 2),
            Self::ConsumerGroupDescribe => (0, 1),
        }
    }

    pub(super) fn form(self, version: i16) -> Form {
        let flexible_from = match self {
            Self::ListOffsets | Self::OffsetFetch => 6,
            Self::Metadata => 9,
            Self::FindCoordinator | Self::Versions => 3,
            Self::DescribeGroups => 5,
            Self::SaslHandshake => i16::MAX,
            Self::SaslAuthenticate => 2,
            Self::ConsumerGroupDescribe => 0,
        };
        if version >= flexible_from { Form::Flexible } else { Form::Plain }
    }

    fn name(self) -> &'static str {
        match self {
            Self::ListOffsets => "ListOffsets",
            Self::Metadata => "Metadata",
            Self::OffsetFetch => "OffsetFetch",
            Self::FindCoordinator => "FindCoordinator",
            Self::DescribeGroups => "DescribeGroups",
            Self::SaslHandshake => "SaslHandshake",
            Self::Versions => "ApiVersions",
            Self::SaslAuthenticate => "SaslAuthenticate",
            Self::ConsumerGroupDescribe => "ConsumerGroupDescribe",
        }
    }
}

impl std::fmt::Display for Api {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A question. Has no `Debug`: one of them holds a password.
#[derive(Clone)]
pub(super) enum Request {
    Versions,
    SaslHandshake(&'static str),
    SaslAuthenticate(Vec<u8>),
    /// The cluster, and these topics of it.
    Metadata(Vec<String>),
    FindCoordinator(String),
    /// What a group has committed in these partitions, or in all.
    OffsetFetch(String, Option<ByTopic>),
    DescribeGroup(String),
    /// The same of a group that speaks the protocol of Kafka 4, which the older question does not tell of.
    DescribeConsumerGroup(String),
    /// Where these partitions end: by topic.
    ListOffsets(ByTopic),
}

impl Request {
    pub(super) fn api(&self) -> Api {
        match self {
            Self::Versions => Api::Versions,
            Self::SaslHandshake(_) => Api::SaslHandshake,
            Self::SaslAuthenticate(_) => Api::SaslAuthenticate,
            Self::Metadata(_) => Api::Metadata,
            Self::FindCoordinator(_) => Api::FindCoordinator,
            Self::OffsetFetch(..) => Api::OffsetFetch,
            Self::DescribeGroup(_) => Api::DescribeGroups,
            Self::DescribeConsumerGroup(_) => Api::ConsumerGroupDescribe,
            Self::ListOffsets(_) => Api::ListOffsets,
        }
    }

    /// The whole request with its length.
    pub(super) fn written(&self, version: i16, correlation: i32) -> Vec<u8> {
        let form = self.api().form(version);
        // The client's name is never flexible.
        let mut header = Writer::new(vec![0; 4], Form::Plain);
        header.int16(self.api() as i16).int16(version).int32(correlation).text("wellkept");
        let mut writer = Writer::new(header.into_bytes(), form);
        writer.end();
        self.write(&mut writer, version);
        writer.end();
        let mut bytes = writer.into_bytes();
        let length = i32::try_from(bytes.len() - 4).unwrap_or(i32::MAX).to_be_bytes();
        if let Some(begin) = bytes.first_chunk_mut() {
            *begin = length;
        }
        bytes
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        match self {
            Self::Versions => {}
            Self::SaslHandshake(mechanism) => {
                writer.text(mechanism);
            }
            Self::SaslAuthenticate(bytes) => {
                writer.blob(bytes);
            }
            Self::Metadata(topics) => {
                writer.array(topics, |writer, topic| {
                    if version >= 10 {
                        writer.no_uuid();
                    }
                    writer.text(topic).end();
                });
                // No topic is made by asking for it.
                writer.boolean(false);
                if (8..=10).contains(&version) {
                    writer.boolean(false);
                }
                if version >= 8 {
                    writer.boolean(false);
                }
            }
            Self::FindCoordinator(group) => {
                const OF_A_GROUP: i8 = 0;
                if version >= 4 {
                    writer.int8(OF_A_GROUP).array(&[group], |writer, group| {
                        writer.text(group);
                    });
                } else {
                    writer.text(group).int8(OF_A_GROUP);
                }
            }
            Self::OffsetFetch(group, topics) => {
                let write_topics = |writer: &mut Writer| {
                    let Some(topics) = topics else {
                        writer.no_array();
                        return;
                    };
                    writer.array(topics, |writer, (topic, partitions)| {
                        writer.text(topic).array(partitions, |writer, partition| {
                            writer.int32(*partition);
                        });
                        writer.end();
                    });
                };
                if version >= 8 {
                    writer.array(&[group], |writer, group| {
                        write_topics(writer.text(group));
                        writer.end();
                    });
                } else {
                    write_topics(writer.text(group));
                }
                if version >= 7 {
                    writer.boolean(false);
                }
            }
            Self::DescribeGroup(group) => {
                writer.array(&[group], |writer, group| {
                    writer.text(group);
                });
                if version >= 3 {
                    writer.boolean(false);
                }
            }
            Self::DescribeConsumerGroup(group) => {
                writer.array(&[group], |writer, group| {
                    writer.text(group);
                });
                writer.boolean(false);
            }
            Self::ListOffsets(topics) => {
                const NO_REPLICA: i32 = -1;
                const WITH_OPEN_TRANSACTIONS: i8 = 0;
                const UNKNOWN_EPOCH: i32 = -1;
                const LATEST: i64 = -1;
                writer.int32(NO_REPLICA);
                if version >= 2 {
                    writer.int8(WITH_OPEN_TRANSACTIONS);
                }
                writer.array(topics, |writer, (topic, partitions)| {
                    writer.text(topic);
                    writer.array(partitions, |writer, partition| {
                        writer.int32(*partition);
                        if version >= 4 {
                            writer.int32(UNKNOWN_EPOCH);
                        }
                        writer.int64(LATEST).end();
                    });
                    writer.end();
                });
            }
        }
    }
}

/// What a broker says went wrong, by its number. 0 is that nothing did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Code(pub(super) i16);

impl Code {
    pub(super) const NONE: Self = Self(0);
    pub(super) const UNKNOWN_TOPIC: Self = Self(3);
    pub(super) const LEADER_NOT_AVAILABLE: Self = Self(5);
    pub(super) const NOT_LEADER: Self = Self(6);
    pub(super) const COORDINATOR_LOADS: Self = Self(14);
    pub(super) const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    pub(super) const NOT_COORDINATOR: Self = Self(16);
    pub(super) const INVALID_TOPIC: Self = Self(17);
    pub(super) const INVALID_GROUP: Self = Self(24);
    pub(super) const TOPIC_AUTHORIZATION: Self = Self(29);
    pub(super) const GROUP_AUTHORIZATION: Self = Self(30);
    pub(super) const CLUSTER_AUTHORIZATION: Self = Self(31);
    pub(super) const UNSUPPORTED_MECHANISM: Self = Self(33);
    pub(super) const GROUP_NOT_FOUND: Self = Self(69);

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }
}
