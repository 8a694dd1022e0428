//! What is said to a mail server and what it answers (RFC 5321), for checks on mail servers and on their certificates.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::lines::{Failure, Lines};

/// The name that a client gives itself. `.invalid` names nobody (RFC 2606).
pub(crate) const NOBODY: &str = "wellkept.invalid";
/// Most lines of one reply.
const MOST_LINES: usize = 100;

/// A connection to a mail server.
pub(crate) struct Dialogue<S>(Lines<S>);

/// What a server answers: a code, and text on one line or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    /// The lines without their codes.
    pub(crate) lines: Vec<String>,
}

impl Reply {
    /// Whether the same may be tried again later (RFC 5321, 4.2.1).
    pub(crate) fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// As the server said it, on one line.
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" / ")).trim_end().to_owned()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(Lines::new(stream))
    }

    /// The server's next reply: the greeting, when nothing was said yet.
    pub(crate) async fn reply(&mut self) -> Result<Reply, Failure> {
        let mut reply: Option<Reply> = None;
        for _ in 0..MOST_LINES {
            let line = self.0.next().await?;
            let (code, more, text) = taken_apart(&line).ok_or(Failure::Unexpected("a line that is no reply of SMTP"))?;
            let reply = reply.get_or_insert_with(|| Reply { code, lines: Vec::new() });
            if reply.code != code {
                return Err(Failure::Unexpected("a reply with two codes"));
            }
            reply.lines.push(text.to_owned());
            if !more {
                return Ok(reply.clone());
            }
        }
        Err(Failure::Unexpected("a reply without end"))
    }

    /// Says one line, and waits for the reply.
    pub(crate) async fn say(&mut self, line: &str) -> Result<Reply, Failure> {
        self.0.send(&format!("{line}\r\n")).await;
        self.reply().await
    }

    /// The connection alone, for TLS.
    pub(crate) fn into_stream(self) -> Result<S, Failure> {
        self.0.into_stream()
    }
}

/// All lines of a reply but the last have a hyphen behind the code (RFC 5321, 4.2.1).
fn taken_apart(line: &str) -> Option<(u16, bool, &str)> {
    let (code, rest) = line.split_at_checked(3)?;
    let code = code.parse().ok().filter(|_| code.bytes().all(|byte| byte.is_ascii_digit()))?;
    match rest.as_bytes().first() {
        None => Some((code, false, "")),
        Some(b' ') => Some((code, false, rest.get(1..)?)),
        Some(b'-') => Some((code, true, rest.get(1..)?)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    async fn reply_of(text: &str) -> Result<Reply, Failure> {
        let (near, mut far) = duplex(64 * 1024);
        far.write_all(text.as_bytes()).await.unwrap();
        drop(far);
        Dialogue::new(near).reply().await
    }

    #[tokio::test]
    async fn a_reply_is_as_long_as_its_codes_say() {
        let reply = reply_of("250-mail.example\r\n250-SIZE 1000\r\n250 HELP\r\n221 Bye\r\n").await.unwrap();
        assert_eq!(reply.text(), "250 mail.example / SIZE 1000 / HELP");
        assert_eq!(reply_of("220\r\n").await.unwrap(), Reply { code: 220, lines: vec![String::new()] });
        assert!(reply_of("421 later\r\n").await.unwrap().is_temporary());
        for text in ["250-a\r\n251 b\r\n", "25x a\r\n", "HTTP/1.1 400\r\n", "2\u{e9} a\r\n", "+25 a\r\n", &"250-a\r\n".repeat(101)] {
            assert!(matches!(reply_of(text).await, Err(Failure::Unexpected(_))), "{text}");
        }
        assert!(matches!(reply_of("250-a\r\n").await, Err(Failure::Broken(_))));
    }

    proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line in ".{0,12}") {
            let _ = taken_apart(&line);
        }
    }
}
