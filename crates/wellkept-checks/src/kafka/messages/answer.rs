//! What brokers answer, in the same versions. Anything may come: what can't be read is no answer.

use super::super::wire::{Form, Reader};
use super::{Api, Code, Partition};

/// An answer.
#[derive(Debug, PartialEq)]
pub(in super::super) enum Answer {
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
pub(in super::super) struct Cluster {
    pub(in super::super) id: String,
    pub(in super::super) brokers: Vec<Broker>,
    /// -1 when there is none.
    pub(in super::super) controller: i32,
    pub(in super::super) topics: Vec<Topic>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(in super::super) struct Broker {
    pub(in super::super) node: i32,
    pub(in super::super) host: String,
    pub(in super::super) port: i32,
}

#[derive(Debug, Default, PartialEq)]
pub(in super::super) struct Topic {
    pub(in super::super) code: Code,
    pub(in super::super) name: String,
    pub(in super::super) partitions: Vec<Replicas>,
}

/// A partition, as the cluster keeps it.
#[derive(Debug, Default, PartialEq)]
pub(in super::super) struct Replicas {
    pub(in super::super) partition: i32,
    /// -1 when there is none.
    pub(in super::super) leader: i32,
    pub(in super::super) all: usize,
    pub(in super::super) in_sync: usize,
}

impl Answer {
    /// The answer to a request; nothing when it is none.
    pub(in super::super) fn read(api: Api, version: i16, correlation: i32, frame: &[u8]) -> Option<Self> {
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
