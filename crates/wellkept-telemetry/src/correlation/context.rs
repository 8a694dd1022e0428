//! The W3C's trace context: what is read of a caller's headers, and what is not believed.

use std::fmt;

/// The caller may have recorded the trace (section 3.2.2.5.1).
pub(super) const SAMPLED: u8 = 1;
/// The trace's id is random in its last seven bytes (level 2).
pub(super) const RANDOM: u8 = 2;

/// Longest `tracestate` that is passed on; the standard wants at least this much to be (section 3.3.1.5).
const MAX_STATE: usize = 512;
/// Members beyond this length go first when it is too long.
const LONG_MEMBER: usize = 128;
const MAX_MEMBERS: usize = 32;

/// The id of a trace, never zero. Prints as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// The id of one place in a trace, never zero. Prints as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl TraceId {
    pub(crate) fn random() -> Self {
        Self(fastrand::u128(1..))
    }

    /// The id as it is sent in binary.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    pub(crate) fn random() -> Self {
        Self(fastrand::u64(1..))
    }

    /// The id as it is sent in binary.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// Whether a trace is among this share of all: by its last seven bytes, which are random (level 2, section 3.2.2.5.2).
pub(crate) fn is_in_ratio(trace: TraceId, ratio: f64) -> bool {
    const ALL: f64 = (1_u64 << 56) as f64;
    let [_, _, _, _, _, _, _, _, _, tail @ ..] = trace.to_bytes();
    let tail = tail.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (tail as f64) < ratio * ALL
}

/// Who has called, by `traceparent`.
pub(super) struct Parent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) flags: u8,
}

impl Parent {
    /// Reads the fields of version 00, of a later version too where they stand in the same places (section 3.2.4). Two
    /// flags are known; others are not passed on, as they may mean anything.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (fields, rest) = text.split_at_checked(55)?;
        let mut parts = fields.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lengths = [version.len(), trace.len(), span.len(), flags.len()] == [2, 32, 16, 2];
        let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_known = match version {
            "00" => rest.is_empty(),
            "ff" => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        if !lengths || !is_known || ![version, trace, span, flags].into_iter().all(is_hex) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()? & (SAMPLED | RANDOM);
        Some(Self { trace: TraceId(trace), span: SpanId(span), flags })
    }
}

/// A `tracestate` that can be passed on: printable, of a bounded length; only whole members are left out (section 3.3.1.5).
pub(super) fn state(text: &str) -> Option<String> {
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return None;
    }
    let members = || text.split(',').map(str::trim).filter(|member| !member.is_empty());
    let is_too_long = members().map(|member| member.len() + 1).sum::<usize>() > MAX_STATE + 1;
    let mut kept = String::new();
    for member in members().filter(|member| !is_too_long || member.len() <= LONG_MEMBER).take(MAX_MEMBERS) {
        if kept.len() + member.len() + 1 > MAX_STATE {
            break;
        }
        if !kept.is_empty() {
            kept.push(',');
        }
        kept.push_str(member);
    }
    (!kept.is_empty()).then_some(kept)
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
