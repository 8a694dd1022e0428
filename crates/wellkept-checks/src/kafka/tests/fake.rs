//! A fake cluster, for what no broker at hand can be brought to: it speaks by an implementation of the protocol that is
//! not ours, and writes down what it is asked.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::consumer_group_describe_response as consumer_group;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
    DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetFetchRequest, OffsetFetchResponse,
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse, TopicName,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, Message, StrBytes, decode_request_header_from_buffer,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::door::Door;

/// Brokers with the numbers from 0 on.
pub(super) struct Fake {
    pub(super) addresses: Vec<String>,
    brokers: Vec<JoinHandle<()>>,
    state: Arc<Mutex<Cluster>>,
}

/// Its code, and for each partition its leader and how many replicas of three are in sync.
pub(super) type Topic = (i16, Vec<(i32, usize)>);

/// What the cluster is, and what it was asked.
pub(super) struct Cluster {
    ports: Vec<u16>,
    /// How many of the brokers the cluster tells of.
    pub(super) told: usize,
    pub(super) controller: i32,
    pub(super) coordinator: i32,
    pub(super) coordinator_code: i16,
    pub(super) topics: BTreeMap<&'static str, Topic>,
    pub(super) group_code: i16,
    pub(super) group_state: &'static str,
    pub(super) members: usize,
    /// Whether the group speaks Kafka 4's protocol, which the older question does not tell of.
    pub(super) speaks_new_protocol: bool,
    pub(super) committed: BTreeMap<(&'static str, i32), i64>,
    pub(super) ends: BTreeMap<(&'static str, i32), i64>,
    /// Which versions of a request are spoken.
    pub(super) versions: fn(ApiKey) -> RangeInclusive<i16>,
    /// Who is let in; all when it is nobody.
    pub(super) user: Option<(&'static str, &'static str)>,
    /// Who takes connections and says nothing.
    pub(super) frozen: Option<i32>,
    pub(super) connections: usize,
    /// By which broker, and what.
    pub(super) asked: Vec<(i32, ApiKey, i16)>,
}

/// All that the implementation knows, as a recent broker.
pub(super) fn all_versions(key: ApiKey) -> RangeInclusive<i16> {
    let range = key.valid_versions();
    range.min..=range.max
}

impl Fake {
    pub(super) async fn start(brokers: usize) -> Self {
        let mut listeners = Vec::new();
        for _ in 0..brokers {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let addresses = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let state = Cluster {
            told: brokers,
            ports,
            controller: 0,
            coordinator: 0,
            coordinator_code: 0,
            topics: BTreeMap::new(),
            group_code: 0,
            group_state: "Stable",
            members: 1,
            speaks_new_protocol: false,
            committed: BTreeMap::new(),
            ends: BTreeMap::new(),
            versions: all_versions,
            user: None,
            frozen: None,
            connections: 0,
            asked: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let mut brokers = Vec::new();
        for (node, listener) in (0..).zip(listeners) {
            let state = Arc::clone(&state);
            brokers.push(tokio::spawn(async move {
                // The connections end with the broker.
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    lock(&state).connections += 1;
                    connections.spawn(serve(stream, node, Arc::clone(&state)));
                }
            }));
        }
        Self { addresses, brokers, state }
    }

    /// Ends a broker and its connections.
    pub(super) async fn kill(&mut self, node: usize) {
        let broker = self.brokers.remove(node);
        broker.abort();
        assert!(broker.await.unwrap_err().is_cancelled());
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Cluster> {
        lock(&self.state)
    }

    /// What was asked since this was called last.
    pub(super) fn asked(&self) -> Vec<(i32, ApiKey, i16)> {
        std::mem::take(&mut self.state().asked)
    }
}

fn lock(state: &Mutex<Cluster>) -> MutexGuard<'_, Cluster> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers what comes on one connection until it ends, or asks for what only those may who have logged in.
async fn serve(mut stream: TcpStream, node: i32, state: Arc<Mutex<Cluster>>) -> std::io::Result<()> {
    let mut door = Door::of(lock(&state).user);
    loop {
        let length = stream.read_i32().await?;
        let mut request = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut request).await?;
        if lock(&state).frozen == Some(node) {
            std::future::pending::<()>().await;
        }
        let mut request = Bytes::from(request);
        let header = decode_request_header_from_buffer(&mut request).unwrap();
        let key = ApiKey::try_from(header.request_api_key).unwrap();
        let version = header.request_api_version;
        let free = [ApiKey::ApiVersions, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
        let answer = {
            let mut state = lock(&state);
            state.asked.push((node, key, version));
            if !door.is_open() && !free.contains(&key) {
                return Ok(());
            }
            assert!((state.versions)(key).contains(&version) || key == ApiKey::ApiVersions, "{key:?} {version}");
            state.answer(node, key, version, &mut request, &mut door)
        };
        assert!(request.is_empty(), "{key:?} {version}: {} bytes too many", request.len());
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&header.correlation_id.to_be_bytes());
        if key.response_header_version(version) == 1 {
            bytes.extend_from_slice(&[0]);
        }
        bytes.extend_from_slice(&answer);
        stream.write_all(&u32::try_from(bytes.len()).unwrap().to_be_bytes()).await?;
        stream.write_all(&bytes).await?;
    }
}

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

fn written(answer: &impl Encodable, version: i16) -> BytesMut {
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, version).unwrap();
    bytes
}

fn read<R: Decodable + Message>(request: &mut Bytes, version: i16) -> R {
    R::decode(request, version).unwrap()
}

impl Cluster {
    fn answer(&self, node: i32, key: ApiKey, version: i16, request: &mut Bytes, door: &mut Door) -> BytesMut {
        let group_code = if node == self.coordinator { self.group_code } else { 16 };
        match key {
            ApiKey::ApiVersions => {
                read::<ApiVersionsRequest>(request, version);
                let asked = [2, 3, 9, 10, 15, 17, 36, 69].map(|key| ApiKey::try_from(key).unwrap());
                let spoken = asked.into_iter().map(|key| (key, (self.versions)(key)));
                let spoken = spoken.filter(|(_, range)| !range.is_empty()).map(|(key, range)| {
                    let api = ApiVersion::default().with_api_key(key as i16);
                    api.with_min_version(*range.start()).with_max_version(*range.end())
                });
                written(&ApiVersionsResponse::default().with_api_keys(spoken.collect()), version)
            }
            ApiKey::SaslHandshake => {
                let asked: SaslHandshakeRequest = read(request, version);
                let code = if door.offers(&asked.mechanism) { 0 } else { 33 };
                let offered = Door::OFFERED.map(text).to_vec();
                written(&SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(offered), version)
            }
            ApiKey::SaslAuthenticate => {
                let asked: SaslAuthenticateRequest = read(request, version);
                let answer = SaslAuthenticateResponse::default();
                let answer = match door.hear(&asked.auth_bytes) {
                    Some(said) => answer.with_auth_bytes(said.into()),
                    None => answer.with_error_code(58).with_error_message(Some(text("invalid credentials"))),
                };
                written(&answer, version)
            }
            ApiKey::Metadata => self.metadata(&read(request, version), version),
            ApiKey::FindCoordinator => self.coordinator(&read(request, version), version),
            ApiKey::OffsetFetch => self.committed(&read(request, version), version, group_code),
            ApiKey::DescribeGroups => self.group(&read(request, version), version, group_code),
            ApiKey::ConsumerGroupDescribe => self.consumer_group(&read(request, version), version, group_code),
            ApiKey::ListOffsets => self.ends(node, read(request, version), version),
            key => panic!("a check has no business with {key:?}"),
        }
    }

    fn metadata(&self, asked: &MetadataRequest, version: i16) -> BytesMut {
        assert!(!asked.allow_auto_topic_creation, "a topic may be made by asking for it");
        let brokers = (0..).zip(&self.ports).take(self.told).map(|(node, port)| {
            let broker = MetadataResponseBroker::default().with_node_id(node.into()).with_host(text("127.0.0.1"));
            broker.with_port((*port).into()).with_rack(Some(text("cellar")))
        });
        let topics = asked.topics.iter().flatten().map(|topic| {
            let name = topic.name.clone().unwrap();
            let answer = MetadataResponseTopic::default().with_name(Some(name.clone()));
            let Some((code, partitions)) = self.topics.get(name.as_str()) else { return answer.with_error_code(3) };
            let partitions = (0..).zip(partitions).map(|(index, (leader, in_sync))| {
                let partition = MetadataResponsePartition::default().with_partition_index(index);
                let partition = partition.with_leader_id((*leader).into()).with_replica_nodes(vec![0.into(); 3]);
                let partition = partition.with_isr_nodes(vec![0.into(); *in_sync]);
                partition.with_error_code(if *leader < 0 { 5 } else { 0 })
            });
            answer.with_error_code(*code).with_partitions(partitions.collect())
        });
        let answer = MetadataResponse::default().with_brokers(brokers.collect()).with_topics(topics.collect());
        written(&answer.with_cluster_id(Some(text("fake"))).with_controller_id(self.controller.into()), version)
    }

    fn coordinator(&self, asked: &FindCoordinatorRequest, version: i16) -> BytesMut {
        let keys = if version >= 4 { asked.coordinator_keys.clone() } else { vec![asked.key.clone()] };
        assert_eq!((keys.as_slice(), asked.key_type), (&[text("billing")][..], 0));
        let port = usize::try_from(self.coordinator).ok().and_then(|node| self.ports.get(node));
        let port = i32::from(port.copied().unwrap_or_default());
        let answer = FindCoordinatorResponse::default();
        if version < 4 {
            let answer = answer.with_error_code(self.coordinator_code).with_node_id(self.coordinator.into());
            return written(&answer.with_host(text("127.0.0.1")).with_port(port), version);
        }
        let found = Coordinator::default().with_key(text("billing")).with_error_code(self.coordinator_code);
        let found = found.with_node_id(self.coordinator.into()).with_host(text("127.0.0.1")).with_port(port);
        written(&answer.with_coordinators(vec![found]), version)
    }

    fn committed(&self, asked: &OffsetFetchRequest, version: i16, code: i16) -> BytesMut {
        let answer = OffsetFetchResponse::default();
        let by_topic = |topic: &'static str| {
            self.committed.iter().filter(move |((name, _), _)| *name == topic).map(|((_, index), offset)| (*index, *offset))
        };
        let mut topics: Vec<_> = self.committed.keys().map(|(topic, _)| *topic).collect();
        topics.dedup();
        if version < 8 {
            assert_eq!(&**asked.group_id, "billing");
            let asked = asked.topics.iter().flatten().map(|topic| (topic.name.as_str(), &topic.partition_indexes));
            let topics = narrowed(&topics, asked);
            let topics = topics.into_iter().map(|topic| {
                let partitions = by_topic(topic).map(|(index, offset)| {
                    OffsetFetchResponsePartition::default().with_partition_index(index).with_committed_offset(offset)
                });
                let answer = OffsetFetchResponseTopic::default().with_name(TopicName(text(topic)));
                answer.with_partitions(partitions.collect())
            });
            return written(&answer.with_topics(topics.collect()).with_error_code(code), version);
        }
        let of_group = asked.groups[0].topics.iter().flatten();
        let of_group = of_group.map(|topic| (topic.name.as_str(), &topic.partition_indexes));
        let topics = narrowed(&topics, of_group);
        let topics = topics.into_iter().map(|topic| {
            let partitions = by_topic(topic).map(|(index, offset)| {
                OffsetFetchResponsePartitions::default().with_partition_index(index).with_committed_offset(offset)
            });
            let answer = OffsetFetchResponseTopics::default().with_name(TopicName(text(topic)));
            answer.with_partitions(partitions.collect())
        });
        let group = OffsetFetchResponseGroup::default().with_group_id(asked.groups[0].group_id.clone());
        let group = group.with_topics(topics.collect()).with_error_code(code);
        written(&answer.with_groups(vec![group]), version)
    }

    fn group(&self, asked: &DescribeGroupsRequest, version: i16, code: i16) -> BytesMut {
        let group = DescribedGroup::default().with_group_id(asked.groups[0].clone());
        let group = match self.speaks_new_protocol {
            true if version >= 6 => group.with_error_code(69).with_group_state(text("Dead")),
            true => group.with_group_state(text("Dead")),
            false => {
                let member = DescribedGroupMember::default().with_client_id(text("app")).with_member_id(text("app-1"));
                let members = vec![member.with_member_assignment(Bytes::from_static(b"assigned")); self.members];
                group.with_error_code(code).with_group_state(text(self.group_state)).with_members(members)
            }
        };
        written(&DescribeGroupsResponse::default().with_groups(vec![group]), version)
    }

    fn consumer_group(&self, asked: &ConsumerGroupDescribeRequest, version: i16, code: i16) -> BytesMut {
        let group = consumer_group::DescribedGroup::default().with_group_id(asked.group_ids[0].clone());
        let group = if self.speaks_new_protocol {
            let partitions = consumer_group::TopicPartitions::default().with_partitions(vec![0, 1]);
            let assignment = consumer_group::Assignment::default().with_topic_partitions(vec![partitions]);
            let member = consumer_group::Member::default().with_assignment(assignment).with_member_id(text("app-1"));
            let group = group.with_error_code(code).with_group_state(text(self.group_state));
            group.with_members(vec![member; self.members])
        } else {
            group.with_error_code(69)
        };
        written(&ConsumerGroupDescribeResponse::default().with_groups(vec![group]), version)
    }

    fn ends(&self, node: i32, asked: ListOffsetsRequest, version: i16) -> BytesMut {
        let topics = asked.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                assert_eq!(partition.timestamp, -1);
                let index = partition.partition_index;
                let leads = |(_, partitions): &Topic| {
                    usize::try_from(index).ok().and_then(|index| partitions.get(index)).is_some_and(|known| known.0 == node)
                };
                let ends = self.ends.iter().filter(|_| self.topics.get(topic.name.as_str()).is_some_and(leads));
                let end = ends.into_iter().find(|((name, own), _)| *name == &**topic.name && *own == index);
                let answer = ListOffsetsPartitionResponse::default().with_partition_index(index);
                end.map_or(answer.clone().with_error_code(6), |(_, end)| answer.with_offset(*end))
            });
            let partitions = partitions.collect();
            ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
        });
        written(&ListOffsetsResponse::default().with_topics(topics.collect()), version)
    }
}

/// Those of the topics that are asked for, each in partitions that there can be.
fn narrowed<'a>(
    topics: &[&'static str],
    asked: impl Iterator<Item = (&'a str, &'a Vec<i32>)>,
) -> Vec<&'static str> {
    let asked: Vec<_> = asked.filter(|(_, partitions)| partitions.starts_with(&[0])).map(|(name, _)| name).collect();
    topics.iter().copied().filter(|topic| asked.contains(topic)).collect()
}
