//! What brokers are asked, and what they answer, in the versions that Kafka has had since 0.11.

use super::wire::{Form, Reader, Writer};

/// A partition of a topic.
pub(super) type Partition = (String, i32);

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
    /// All that a group has committed.
    OffsetFetch(String),
    DescribeGroup(String),
    /// The same of a group that speaks the protocol of Kafka 4, which the older question does not tell of.
    DescribeConsumerGroup(String),
    /// Where these partitions end: by topic.
    ListOffsets(Vec<(String, Vec<i32>)>),
}

impl Request {
    pub(super) fn api(&self) -> Api {
        match self {
            Self::Versions => Api::Versions,
            Self::SaslHandshake(_) => Api::SaslHandshake,
            Self::SaslAuthenticate(_) => Api::SaslAuthenticate,
            Self::Metadata(_) => Api::Metadata,
            Self::FindCoordinator(_) => Api::FindCoordinator,
            Self::OffsetFetch(_) => Api::OffsetFetch,
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
            Self::OffsetFetch(group) => {
                if version >= 8 {
                    writer.array(&[group], |writer, group| {
                        writer.text(group).no_array().end();
                    });
                } else {
                    writer.text(group).no_array();
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

/// An answer.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// The first and last version of each API, by its number.
    Versions(Code, Vec<(i16, i16, i16)>),
    Mechanisms(Code, Vec<String>),
    Challenge { code: Code, text: String, bytes: Vec<u8> },
    Cluster(Cluster),
    Coordinator { code: Code, broker: Broker },
    Committed { code: Code, offsets: Vec<(Partition, i64)> },
    Group { code: Code, state: String, members: usize },
    Ends(Vec<(Partition, Code, i64)>),
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Cluster {
    pub(super) id: String,
    pub(super) brokers: Vec<Broker>,
    /// -1 when there is none.
    pub(super) controller: i32,
    pub(super) topics: Vec<Topic>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Broker {
    pub(super) node: i32,
    pub(super) host: String,
    pub(super) port: i32,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Topic {
    pub(super) code: Code,
    pub(super) name: String,
    pub(super) partitions: Vec<Replicas>,
}

/// A partition, as the cluster keeps it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Replicas {
    pub(super) partition: i32,
    /// -1 when there is none.
    pub(super) leader: i32,
    pub(super) all: usize,
    pub(super) in_sync: usize,
}

impl Answer {
    /// The answer to a request; nothing when it is none.
    pub(super) fn read(api: Api, version: i16, correlation: i32, frame: &[u8]) -> Option<Self> {
        let mut header = Reader::new(frame, Form::Plain);
        if header.int32()? != correlation {
            return None;
        }
        let form = api.form(version);
        let mut reader = Reader::new(frame.get(4..)?, form);
        reader.end()?;
        let reader = &mut reader;
        let answer = match api {
            Api::Versions => {
                let code = Code(reader.int16()?);
                Self::Versions(code, reader.array(|reader| Some((reader.int16()?, reader.int16()?, reader.int16()?)))?)
            }
            Api::SaslHandshake => Self::Mechanisms(Code(reader.int16()?), reader.array(Reader::text)?),
            Api::SaslAuthenticate => {
                let (code, text) = (Code(reader.int16()?), reader.text()?);
                Self::Challenge { code, text, bytes: reader.blob()?.to_vec() }
            }
            Api::Metadata => Self::Cluster(Cluster::read(reader, version)?),
            Api::FindCoordinator => read_coordinator(reader, version)?,
            Api::OffsetFetch => read_committed(reader, version)?,
            Api::DescribeGroups => read_group(reader, version)?,
            Api::ConsumerGroupDescribe => read_consumer_group(reader, version)?,
            Api::ListOffsets => read_ends(reader, version)?,
        };
        Some(answer)
    }
}

impl Cluster {
    fn read(reader: &mut Reader<'_>, version: i16) -> Option<Self> {
        let _throttle = reader.int32()?;
        let brokers = reader.array(|reader| {
            let broker = Broker { node: reader.int32()?, host: reader.text()?, port: reader.int32()? };
            let _rack = reader.text()?;
            reader.end()?;
            Some(broker)
        })?;
        let (id, controller) = (reader.text()?, reader.int32()?);
        let topics = reader.array(|reader| {
            let (code, name) = (Code(reader.int16()?), reader.text()?);
            if version >= 10 {
                reader.uuid()?;
            }
            let _internal = reader.int8()?;
            let partitions = reader.array(|reader| Replicas::read(reader, version))?;
            if version >= 8 {
                let _operations = reader.int32()?;
            }
            reader.end()?;
            Some(Topic { code, name, partitions })
        })?;
        Some(Self { id, brokers, controller, topics })
    }
}

impl Replicas {
    fn read(reader: &mut Reader<'_>, version: i16) -> Option<Self> {
        let code = Code(reader.int16()?);
        let (partition, leader) = (reader.int32()?, reader.int32()?);
        if version >= 7 {
            let _epoch = reader.int32()?;
        }
        let all = reader.array(Reader::int32)?.len();
        let in_sync = reader.array(Reader::int32)?.len();
        if version >= 5 {
            let _offline = reader.array(Reader::int32)?;
        }
        reader.end()?;
        // Told of a leader that is named and down.
        let leader = if code == Code::LEADER_NOT_AVAILABLE { -1 } else { leader };
        Some(Self { partition, leader, all, in_sync })
    }
}

fn read_coordinator(reader: &mut Reader<'_>, version: i16) -> Option<Answer> {
    let _throttle = reader.int32()?;
    if version < 4 {
        let (code, _text) = (Code(reader.int16()?), reader.text()?);
        let broker = Broker { node: reader.int32()?, host: reader.text()?, port: reader.int32()? };
        return Some(Answer::Coordinator { code, broker });
    }
    let found = reader.array(|reader| {
        let _group = reader.text()?;
        let broker = Broker { node: reader.int32()?, host: reader.text()?, port: reader.int32()? };
        let (code, _text) = (Code(reader.int16()?), reader.text()?);
        reader.end()?;
        Some(Answer::Coordinator { code, broker })
    })?;
    found.into_iter().next()
}

fn read_committed(reader: &mut Reader<'_>, version: i16) -> Option<Answer> {
    let by_topic = |reader: &mut Reader<'_>| {
        reader.array(|reader| {
            let topic = reader.text()?;
            let partitions = reader.array(|reader| {
                let (partition, offset) = (reader.int32()?, reader.int64()?);
                if version >= 5 {
                    let _epoch = reader.int32()?;
                }
                let (_metadata, code) = (reader.text()?, Code(reader.int16()?));
                reader.end()?;
                Some((partition, if code.is_none() { offset } else { -1 }))
            })?;
            reader.end()?;
            Some((topic, partitions))
        })
    };
    if version >= 3 {
        let _throttle = reader.int32()?;
    }
    let (topics, code) = if version < 8 {
        (by_topic(reader)?, Code(reader.int16()?))
    } else {
        let groups = reader.array(|reader| {
            let _group = reader.text()?;
            let answer = (by_topic(reader)?, Code(reader.int16()?));
            reader.end()?;
            Some(answer)
        })?;
        groups.into_iter().next()?
    };
    // -1 says that nothing is committed.
    let committed = |topic: String, partitions: Vec<(i32, i64)>| {
        let there = partitions.into_iter().filter(|(_, offset)| *offset >= 0);
        there.map(move |(partition, offset)| ((topic.clone(), partition), offset))
    };
    let offsets = topics.into_iter().flat_map(|(topic, partitions)| committed(topic, partitions)).collect();
    Some(Answer::Committed { code, offsets })
}

fn read_group(reader: &mut Reader<'_>, version: i16) -> Option<Answer> {
    if version >= 1 {
        let _throttle = reader.int32()?;
    }
    let groups = reader.array(|reader| {
        let code = Code(reader.int16()?);
        if version >= 6 {
            let _text = reader.text()?;
        }
        let (_group, state, _type, _protocol) = (reader.text()?, reader.text()?, reader.text()?, reader.text()?);
        let members = reader.array(|reader| {
            let _id = reader.text()?;
            if version >= 4 {
                let _instance = reader.text()?;
            }
            let (_client, _host) = (reader.text()?, reader.text()?);
            let (_metadata, _assignment) = (reader.blob()?, reader.blob()?);
            reader.end()
        })?;
        if version >= 3 {
            let _operations = reader.int32()?;
        }
        reader.end()?;
        Some(Answer::Group { code, state, members: members.len() })
    })?;
    groups.into_iter().next()
}

fn read_consumer_group(reader: &mut Reader<'_>, version: i16) -> Option<Answer> {
    let assignment = |reader: &mut Reader<'_>| {
        reader.array(|reader| {
            let (_id, _name, _partitions) = (reader.uuid()?, reader.text()?, reader.array(Reader::int32)?);
            reader.end()
        })?;
        reader.end()
    };
    let _throttle = reader.int32()?;
    let groups = reader.array(|reader| {
        let (code, _text, _group) = (Code(reader.int16()?), reader.text()?, reader.text()?);
        let state = reader.text()?;
        let (_epoch, _assigned, _assignor) = (reader.int32()?, reader.int32()?, reader.text()?);
        let members = reader.array(|reader| {
            let (_id, _instance, _rack, _epoch) = (reader.text()?, reader.text()?, reader.text()?, reader.int32()?);
            let (_client, _host) = (reader.text()?, reader.text()?);
            let (_topics, _pattern) = (reader.array(Reader::text)?, reader.text()?);
            assignment(reader)?;
            assignment(reader)?;
            if version >= 1 {
                let _kind = reader.int8()?;
            }
            reader.end()
        })?;
        let _operations = reader.int32()?;
        reader.end()?;
        Some(Answer::Group { code, state, members: members.len() })
    })?;
    groups.into_iter().next()
}

fn read_ends(reader: &mut Reader<'_>, version: i16) -> Option<Answer> {
    if version >= 2 {
        let _throttle = reader.int32()?;
    }
    let topics = reader.array(|reader| {
        let topic = reader.text()?;
        let partitions = reader.array(|reader| {
            let (partition, code) = (reader.int32()?, Code(reader.int16()?));
            let (_timestamp, offset) = (reader.int64()?, reader.int64()?);
            if version >= 4 {
                let _epoch = reader.int32()?;
            }
            reader.end()?;
            Some((partition, code, offset))
        })?;
        reader.end()?;
        Some((topic, partitions))
    })?;
    let flat = topics.into_iter().flat_map(|(topic, partitions)| {
        partitions.into_iter().map(move |(partition, code, offset)| ((topic.clone(), partition), code, offset))
    });
    Some(Answer::Ends(flat.collect()))
}
