//! HTTP/1.1 by hand, for tests: a connection for each request, and the whole answer or none.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::PATIENCE;

/// An answer that came whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body, without what HTTP puts between pieces of it.
    pub body: String,
    /// Its status line and its fields.
    head: String,
}

impl Answer {
    /// The answer in this text. None: it is no whole one.
    fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Self { status, body: String::new(), head: head.to_owned() };
        answer.body = match (answer.header("content-length"), answer.header("transfer-encoding")) {
            (Some(length), _) => rest.get(..length.parse().ok()?)?.to_owned(),
            (None, Some("chunked")) => dechunked(rest)?,
            (None, _) => rest.to_owned(),
        };
        Some(answer)
    }

    /// The first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// What a server answers to this request, whose body is JSON. None: it does not, or not to the end.
pub fn ask_blocking(address: impl ToSocketAddrs, method: &str, path: &str, body: &str) -> Option<Answer> {
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json");
    Answer::parse(&send_blocking(address, &format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))?)
}

/// Everything that a server says to these words, until it closes. None: it accepts no connection, or breaks it.
pub fn send_blocking(address: impl ToSocketAddrs, words: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(words.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// As [`send_blocking`], for a server in the runtime of the test.
///
/// # Panics
/// It accepts no connection, breaks it, or does not close it within [`PATIENCE`].
pub async fn send(address: SocketAddr, words: &str) -> String {
    let mut answer = String::new();
    let sent = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(words.as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    let done = tokio::time::timeout(PATIENCE, sent).await;
    done.expect("the connection is never closed").expect("the connection breaks");
    answer
}

fn dechunked(mut rest: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(whole);
        }
        whole.push_str(after.get(..length)?);
        rest = after.get(length + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_body_ends_where_its_length_its_chunks_or_the_connection_say() {
        let body = |text: &str| Answer::parse(text).map(|answer| answer.body);
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab").as_deref(), Some("ab"));
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(body(&format!("{chunked}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")).as_deref(), Some("abc"));
        assert_eq!(body("HTTP/1.1 204 No Content\r\n\r\n").as_deref(), Some(""));
        assert_eq!(body("HTTP/1.0 200 OK\r\n\r\nabc").as_deref(), Some("abc"));
        for cut in ["HTTP/1.1 200 OK\r\nx: 1\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab"] {
            assert_eq!(body(cut), None, "{cut:?}");
        }
        for cut in ["", "2\r\na", "2\r\nab\r\n", "x\r\n"] {
            assert_eq!(body(&format!("{chunked}{cut}")), None, "{cut:?}");
        }
    }

    #[test]
    fn a_field_is_found_in_any_case() {
        let answer = Answer::parse("HTTP/1.1 503 No\r\nA: b:c\r\nX-Last:  7 \r\n\r\n").unwrap();
        assert_eq!((answer.status, answer.header("a"), answer.header("x-last")), (503, Some("b:c"), Some("7")));
        assert_eq!(answer.header("x"), None);
    }
}
