//! An exporter: counters as what came since the last time, gauges as they are, over UDP to a `StatsD` server.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use wellkept::telemetry::metrics::{Kind, MetricsExportError, MetricsExporter, Reading, Sample};

/// Fits into a packet of any Ethernet.
const MAX_DATAGRAM: usize = 1400;

pub(crate) struct Statsd {
    socket: UdpSocket,
    /// Each counter as it was when it was sent last.
    sent: HashMap<String, f64>,
}

impl Statsd {
    pub(crate) fn to(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(server)?;
        Ok(Self { socket, sent: HashMap::new() })
    }
}

impl MetricsExporter for Statsd {
    fn export(&mut self, reading: &Reading, deadline: Instant) -> Result<(), MetricsExportError> {
        let mut datagram = String::new();
        for family in &reading.families {
            for sample in &family.samples {
                let (Some(value), name) = (sample.value.number(), name(family.name(), sample)) else { continue };
                let line = match family.kind() {
                    Kind::Counter => {
                        let before = self.sent.insert(name.clone(), value).unwrap_or_default();
                        if value.total_cmp(&before).is_eq() {
                            continue;
                        }
                        format!("{name}:{}|c\n", value - before)
                    }
                    Kind::Gauge => format!("{name}:{value}|g\n"),
                    _ => continue,
                };
                if datagram.len() + line.len() > MAX_DATAGRAM {
                    self.send(&mut datagram, deadline)?;
                }
                datagram.push_str(&line);
            }
        }
        self.send(&mut datagram, deadline)
    }
}

impl Statsd {
    fn send(&self, datagram: &mut String, deadline: Instant) -> Result<(), MetricsExportError> {
        if Instant::now() > deadline {
            return Err("it took too long".into());
        }
        self.socket.send(datagram.as_bytes())?;
        datagram.clear();
        Ok(())
    }
}

/// `clients_created.web`: `StatsD` has no labels, and some characters of its own.
fn name(family: &str, sample: &Sample) -> String {
    let values = sample.labels.iter().map(|(_, value)| value.replace(|letter: char| !letter.is_alphanumeric(), "_"));
    std::iter::once(family.to_owned()).chain(values).collect::<Vec<_>>().join(".")
}
