//! One question to one resolver (RFC 1035).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::AllRecordData;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use wellkept_net::{AddressRules, ConnectError, ResolveError, Target, connect, resolve};

/// How long the first packet may take before it is taken for lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the question is sent at most.
const MOST_SENT: u32 = 3;
/// Longest text of a record that is kept, in characters.
const MOST_TEXT: usize = 1024;

/// What a resolver says.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: Rcode,
    /// The records of the type that was asked for.
    pub(super) records: Vec<String>,
    /// The shortest time in seconds that one of them may be kept.
    pub(super) ttl: Option<u32>,
}

#[derive(Debug)]
pub(super) enum AskError {
    Connect(ConnectError),
    Timeout,
    Protocol(String),
}

/// Asks over UDP, and over TCP when the answer does not fit. Cancel-safe.
pub(super) async fn ask(
    resolver: &Target,
    name: &Name<Vec<u8>>,
    record_type: Rtype,
    deadline: Instant,
) -> Result<Answer, AskError> {
    let query = query(name, record_type)?;
    let mut answer = over_udp(resolver, &query, deadline).await?;
    if answer.header().tc() {
        answer = over_tcp(resolver, &query, deadline).await?;
    }
    read(&answer, record_type)
}

fn query(name: &Name<Vec<u8>>, record_type: Rtype) -> Result<Message<Vec<u8>>, AskError> {
    let mut message = MessageBuilder::new_vec();
    // Each state of the standard library's hashers is random: nobody else can guess the number.
    let id = RandomState::new().build_hasher().finish().to_le_bytes();
    message.header_mut().set_id(u16::from_le_bytes([id[0], id[1]]));
    message.header_mut().set_rd(true);
    let mut question = message.question();
    question.push((name, record_type)).map_err(|error| AskError::Protocol(error.to_string()))?;
    Ok(question.into_message())
}

async fn over_udp(resolver: &Target, query: &Message<Vec<u8>>, deadline: Instant) -> Result<Message<Vec<u8>>, AskError> {
    let address = address(resolver, deadline).await?;
    let own: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let failed = |error: io::Error| broken(address, &error);
    let socket = UdpSocket::bind((own, 0)).await.map_err(failed)?;
    // Connected, so that the kernel passes on nothing from others, and tells when nobody listens.
    socket.connect(address).await.map_err(failed)?;
    let begun = Instant::now();
    let pause = (deadline.saturating_duration_since(begun) / MOST_SENT).min(PATIENCE);
    // Without an extension a packet has 512 bytes; a resolver that sends more is read all the same.
    let mut buffer = vec![0; 4096];
    for sent in 1..=MOST_SENT {
        socket.send(query.as_slice()).await.map_err(failed)?;
        let until = if sent == MOST_SENT { deadline } else { (begun + pause * sent).min(deadline) };
        while let Ok(received) = timeout_at(until, socket.recv(&mut buffer)).await {
            let length = received.map_err(failed)?;
            let Ok(answer) = Message::from_octets(buffer.get(..length).unwrap_or_default().to_vec()) else { continue };
            if answer.is_answer(query) {
                return Ok(answer);
            }
        }
    }
    Err(AskError::Timeout)
}

async fn over_tcp(resolver: &Target, query: &Message<Vec<u8>>, deadline: Instant) -> Result<Message<Vec<u8>>, AskError> {
    let mut stream = connect(resolver, AddressRules::configured(), deadline).await.map_err(AskError::Connect)?;
    let asked = async {
        let length = u16::try_from(query.as_slice().len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        stream.write_all(&[&length.to_be_bytes(), query.as_slice()].concat()).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await.map(|_| answer)
    };
    let answer = timeout_at(deadline, asked).await.map_err(|_elapsed| AskError::Timeout)?;
    let answer = answer.map_err(|error| {
        AskError::Connect(ConnectError::Network { attempts: format!("{resolver} over TCP: {error}") })
    })?;
    match Message::from_octets(answer) {
        Ok(answer) if answer.is_answer(query) => Ok(answer),
        _ => Err(AskError::Protocol("what came over TCP does not answer the question".to_owned())),
    }
}

async fn address(resolver: &Target, deadline: Instant) -> Result<SocketAddr, AskError> {
    let addresses = resolve(resolver.host(), deadline).await.map_err(|error| match error {
        ResolveError::Timeout => AskError::Timeout,
        error => AskError::Connect(ConnectError::Resolve(error)),
    })?;
    let address = *addresses.first().ok_or(AskError::Connect(ConnectError::Resolve(ResolveError::NoAddress)))?;
    let judged = AddressRules::configured().judge(address);
    judged.map_err(|reason| AskError::Connect(ConnectError::Blocked { address, reason }))?;
    Ok(SocketAddr::new(address, resolver.port()))
}

fn broken(address: SocketAddr, error: &io::Error) -> AskError {
    let attempts = format!("{address}: {error}");
    AskError::Connect(match error.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError::Refused { attempts },
        // EMFILE and ENFILE.
        _ if matches!(error.raw_os_error(), Some(23 | 24)) => ConnectError::Exhausted { attempts },
        _ => ConnectError::Network { attempts },
    })
}

fn read(answer: &Message<Vec<u8>>, record_type: Rtype) -> Result<Answer, AskError> {
    let broken = |error: domain::base::wire::ParseError| AskError::Protocol(error.to_string());
    let (mut records, mut ttl) = (Vec::new(), None::<u32>);
    for record in answer.answer().map_err(broken)?.limit_to_in::<AllRecordData<_, _>>() {
        let record = record.map_err(broken)?;
        if record.rtype() != record_type {
            // The names that lead to it.
            continue;
        }
        let seconds = record.ttl().as_secs();
        ttl = Some(ttl.map_or(seconds, |shortest| shortest.min(seconds)));
        let text = match record.data() {
            AllRecordData::Txt(text) => text.iter().map(String::from_utf8_lossy).collect(),
            data => data.to_string(),
        };
        records.push(if text.len() > MOST_TEXT { text.chars().take(MOST_TEXT).collect() } else { text });
    }
    Ok(Answer { code: answer.header().rcode(), records, ttl })
}
