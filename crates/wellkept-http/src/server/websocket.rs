//! Says goodbye on a WebSocket that the application knows nothing of leaving: a close frame with 1001, "going away"
//! (RFC 6455, section 7.4.1), between two frames of the application's own.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

/// FIN and close; two bytes, not masked, as a server's are (section 5.1); 1001.
const CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xE9];
/// The end of a head, with the end of its last line.
const EMPTY_LINE: &[u8; 4] = b"\r\n\r\n";
/// How long the client may take to answer in kind.
const ANSWER: Duration = Duration::from_secs(2);

/// The server's side of one WebSocket, as far as leaving it goes.
pub(super) struct Farewell {
    frames: Frames,
    state: State,
}

enum State {
    /// Nobody has asked to leave.
    Staying,
    /// Not all at once.
    Waiting(Option<Pin<Box<Sleep>>>),
    /// So much of the close frame has left.
    Saying(usize),
    /// It is for the client now.
    Said(Pin<Box<Sleep>>),
}

/// What became of a farewell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It is on its way, or not asked for.
    NotYet,
    /// It is said, and the client has time to answer.
    Yes,
    /// The client has not answered in its time.
    InVain,
}

impl Farewell {
    pub(super) fn new() -> Self {
        Self { frames: Frames::default(), state: State::Staying }
    }

    /// These bytes of the application have left.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.frames.pass(bytes);
    }

    /// Whether it has waited for the end of a frame, which has come.
    pub(super) fn is_held_up(&self) -> bool {
        matches!(self.state, State::Waiting(_)) && self.frames.at_boundary()
    }

    /// Whether what the application writes is of no use any more: after a close frame there is none (section 5.5.1).
    pub(super) fn swallows(&self) -> bool {
        matches!(self.state, State::Saying(_) | State::Said(_))
    }

    /// Gets on with it as far as it goes. `after` is how long to wait first, once it is asked for; `write` is the socket's.
    pub(super) fn poll(
        &mut self,
        after: Option<Duration>,
        context: &mut Context<'_>,
        mut write: impl FnMut(&mut Context<'_>, &[u8]) -> Poll<std::io::Result<usize>>,
    ) -> Poll<Said> {
        loop {
            match &mut self.state {
                State::Staying => {
                    let Some(after) = after else { return Poll::Ready(Said::NotYet) };
                    let time = (!after.is_zero()).then(|| Box::pin(tokio::time::sleep(after)));
                    self.state = State::Waiting(time);
                }
                State::Waiting(time) => {
                    if let Some(time) = time {
                        ready!(time.as_mut().poll(context));
                    }
                    if self.frames.has_closed {
                        // The application has said it itself.
                        self.state = State::Said(Box::pin(tokio::time::sleep(ANSWER)));
                    } else if self.frames.at_boundary() {
                        self.state = State::Saying(0);
                    } else {
                        // Asked again when the application writes the rest of its frame.
                        return Poll::Ready(Said::NotYet);
                    }
                }
                State::Saying(said) => {
                    let rest = CLOSE.get(*said..).unwrap_or_default();
                    if rest.is_empty() {
                        self.state = State::Said(Box::pin(tokio::time::sleep(ANSWER)));
                        continue;
                    }
                    match ready!(write(context, rest)) {
                        Ok(written) if written > 0 => *said += written,
                        // The application meets the same error.
                        _ => return Poll::Ready(Said::InVain),
                    }
                }
                State::Said(time) => {
                    let over = time.as_mut().poll(context).is_ready();
                    return Poll::Ready(if over { Said::InVain } else { Said::Yes });
                }
            }
        }
    }
}

/// Follows what is written: first the head of the response that switches protocols, to its empty line; then frames, by
/// their heads (section 5.2).
#[derive(Debug, Default)]
struct Frames {
    /// How much of the empty line after the response's head has been seen.
    switched: usize,
    head: [u8; 14],
    /// How much of the head is there; 0 between two frames.
    seen: usize,
    payload_left: u64,
    has_closed: bool,
}

impl Frames {
    fn at_boundary(&self) -> bool {
        self.switched == EMPTY_LINE.len() && self.seen == 0 && self.payload_left == 0
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let passed = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
                self.payload_left -= passed as u64;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            let Some((next, rest)) = bytes.split_first() else { return };
            bytes = rest;
            if let Some(expected) = EMPTY_LINE.get(self.switched) {
                let begins_anew = usize::from(*next == b'\r');
                self.switched = if next == expected { self.switched + 1 } else { begins_anew };
                continue;
            }
            if let Some(place) = self.head.get_mut(self.seen) {
                *place = *next;
            }
            self.seen += 1;
            self.finish_head();
        }
    }

    /// Once the head is whole, its payload begins.
    fn finish_head(&mut self) {
        let [first, second, rest @ ..] = self.head;
        if self.seen < 2 {
            return;
        }
        let (extended, mask) = (extended_length(second), if second & 0x80 == 0 { 0 } else { 4 });
        if self.seen < 2 + extended + mask {
            return;
        }
        let number = rest.iter().take(extended).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        self.payload_left = if extended == 0 { u64::from(second & 0x7F) } else { number };
        self.has_closed |= first & 0x0F == 0x08;
        self.seen = 0;
    }
}

fn extended_length(second: u8) -> usize {
    match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, masked: bool, length: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask | u8::try_from(length).unwrap()),
            126..65_536 => {
                frame.push(mask | 0x7E);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 0x7F);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        frame.extend(std::iter::repeat_n(0x88, length));
        frame
    }

    proptest! {
        #[test]
        fn a_boundary_is_where_a_frame_ends_and_nowhere_else(
            shapes in proptest::collection::vec(
                (0_u8..3, any::<bool>(), prop_oneof![0_usize..300, 65_500_usize..65_600]), 1..6),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
        ) {
            let frames: Vec<_> = shapes.iter().map(|(opcode, masked, length)| frame(*opcode, *masked, *length)).collect();
            let ends: Vec<_> = frames.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }).collect();
            let bytes = frames.concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).chain(ends.iter().copied()).collect();
            cuts.sort_unstable();
            let (mut follows, mut from) = (Frames::default(), 0);
            for byte in b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nx: \r\r\n" {
                follows.pass(&[*byte]);
                prop_assert!(!follows.at_boundary());
            }
            follows.pass(b"\r\n");
            for to in cuts {
                follows.pass(&bytes[from..to]);
                from = to;
                prop_assert_eq!(follows.at_boundary(), to == 0 || ends.contains(&to), "after {} bytes", to);
            }
            prop_assert!(!follows.has_closed);
            follows.pass(&frame(8, false, 2));
            prop_assert!(follows.has_closed && follows.at_boundary());
        }
    }
}
