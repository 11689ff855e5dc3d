//! One connection to one node, and one operation on it.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

use super::super::{
    job::{Protocol, Records},
    record,
};

/// Nothing takes longer.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a client wants of a node.
#[derive(Debug)]
pub(crate) enum Ask {
    Write(Uuid),
    Read(Uuid),
    Strong(Uuid),
    List,
    Batch(Vec<Uuid>),
    /// A list of our store's, by path and query.
    Query(String),
}

/// A connection that is kept.
pub(crate) enum Link {
    Http { sender: SendRequest<Full<Bytes>>, host: String, of: Records },
    Redis { stream: TcpStream, input: Vec<u8>, wait: bool },
}

impl Link {
    pub(crate) async fn open(protocol: Protocol, of: Records, node: SocketAddr) -> anyhow::Result<Link> {
        let stream = tokio::time::timeout(DEADLINE, TcpStream::connect(node)).await??;
        stream.set_nodelay(true)?;
        match protocol {
            Protocol::Http => {
                let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Ok(Link::Http { sender, host: node.to_string(), of })
            }
            Protocol::Redis | Protocol::RedisWait => {
                Ok(Link::Redis { stream, input: Vec::new(), wait: protocol == Protocol::RedisWait })
            }
            Protocol::Etcd => bail!("etcd has a load generator of its own: e2e/bench/peers/build.sh"),
        }
    }

    /// One operation. How many records it read or wrote.
    pub(crate) async fn carry_out(&mut self, ask: &Ask, record_bytes: usize) -> anyhow::Result<u64> {
        tokio::time::timeout(DEADLINE, async {
            match self {
                Link::Http { .. } => self.over_http(ask, record_bytes).await,
                Link::Redis { .. } => self.over_redis(ask, record_bytes).await,
            }
        })
        .await
        .context("no answer in 10 s")?
    }

    async fn over_http(&mut self, ask: &Ask, record_bytes: usize) -> anyhow::Result<u64> {
        let Link::Http { sender, host, of } = self else { bail!("not an HTTP connection") };
        let (collection, text): (&str, fn(Uuid, usize) -> String) = match of {
            Records::Persons => ("/persons", record::text),
            Records::Orders => ("/orders", record::order),
        };
        let (method, path, body) = match ask {
            Ask::Write(id) => (Method::POST, collection.to_owned(), text(*id, record_bytes)),
            Ask::Read(id) => (Method::GET, format!("{collection}/{id}"), String::new()),
            Ask::Strong(id) => (Method::GET, format!("{collection}/{id}?consistency=strong"), String::new()),
            Ask::List => (Method::GET, collection.to_owned(), String::new()),
            Ask::Batch(ids) => (Method::POST, format!("{collection}:batch"), batch_body(ids, record_bytes, text)),
            Ask::Query(path) => (Method::GET, path.clone(), String::new()),
        };
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host.as_str());
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        sender.ready().await?;
        let response = sender.send_request(request.body(Full::new(body.into()))?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        match ask {
            Ask::List => {
                // Counted without being parsed: a generator that parses lists would be what is measured.
                ensure!(body.len() >= 1_000 * record_bytes, "a list of {} bytes", body.len());
                Ok(1_000)
            }
            Ask::Batch(ids) => Ok(ids.len() as u64),
            Ask::Query(path) => {
                ensure!(body.len() > record_bytes, "{path} is answered without a record");
                Ok(1)
            }
            Ask::Write(_) | Ask::Read(_) | Ask::Strong(_) => Ok(1),
        }
    }

    async fn over_redis(&mut self, ask: &Ask, record_bytes: usize) -> anyhow::Result<u64> {
        let key = |id: &Uuid| format!("person:{id}");
        let wait = matches!(self, Link::Redis { wait: true, .. });
        let (mut words, records) = match ask {
            Ask::Write(id) => (vec!["SET".to_owned(), key(id), record::text(*id, record_bytes)], 1),
            Ask::Read(id) => (vec!["GET".to_owned(), key(id)], 1),
            Ask::Strong(_) => bail!("Redis has no linearizable reads"),
            Ask::Query(_) => bail!("Redis has no collections"),
            Ask::List => {
                let keys = (0..1_000).map(|i| key(&record::known_id(i)));
                (std::iter::once("MGET".to_owned()).chain(keys).collect(), 1_000)
            }
            Ask::Batch(ids) => {
                let pairs = ids.iter().flat_map(|id| [key(id), record::text(*id, record_bytes)]);
                (std::iter::once("MSET".to_owned()).chain(pairs).collect(), ids.len() as u64)
            }
        };
        let is_write = matches!(ask, Ask::Write(_) | Ask::Batch(_));
        let command: Vec<&str> = words.iter_mut().map(|word| &**word).collect();
        let mut commands: Vec<&[&str]> = vec![&command];
        if wait && is_write {
            commands.push(&["WAIT", "1", "0"]);
        }
        let replies = self.talk(&commands).await?;
        match ask {
            Ask::Read(_) => ensure!(replies[0].starts_with("$") && replies[0] != "$-1", "a record is missing"),
            Ask::List => ensure!(replies[0] == "*1000", "a list that is answered {}", replies[0]),
            _ => {}
        }
        if let Some(acknowledged) = replies.get(1) {
            ensure!(acknowledged != ":0", "no replica acknowledged");
        }
        Ok(records)
    }

    /// Sends commands in one packet, and reads a reply for each: its first line; the rest is skipped.
    async fn talk(&mut self, commands: &[&[&str]]) -> anyhow::Result<Vec<String>> {
        let Link::Redis { stream, input, .. } = self else { bail!("not a Redis connection") };
        let mut out = Vec::new();
        for command in commands {
            out.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for word in *command {
                out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                out.extend_from_slice(word.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        stream.write_all(&out).await?;
        input.clear();
        let (mut replies, mut used) = (Vec::new(), 0);
        while replies.len() < commands.len() {
            match reply_length(&input[used..])? {
                Some(length) => {
                    let line = input[used..used + length].split(|byte| *byte == b'\r').next().unwrap_or_default();
                    let line = String::from_utf8_lossy(line).into_owned();
                    ensure!(!line.starts_with('-'), "Redis says {line}");
                    replies.push(line);
                    used += length;
                }
                None => ensure!(stream.read_buf(input).await? > 0, "Redis closed the connection"),
            }
        }
        Ok(replies)
    }
}

/// How many bytes the first reply has; none: it is not all there.
pub(crate) fn reply_length(input: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let number = || -> anyhow::Result<i64> { Ok(std::str::from_utf8(&input[1..end])?.parse()?) };
    let mut length = end + 2;
    match input[0] {
        b'+' | b'-' | b':' => {}
        b'$' => {
            let bytes = number()?;
            if bytes >= 0 {
                length += usize::try_from(bytes)? + 2;
            }
        }
        b'*' => {
            for _ in 0..number()?.max(0) {
                let Some(rest) = input.get(length..) else { return Ok(None) };
                match reply_length(rest)? {
                    Some(one) => length += one,
                    None => return Ok(None),
                }
            }
        }
        other => bail!("not RESP: {:?}", char::from(other)),
    }
    Ok((input.len() >= length).then_some(length))
}

/// The body of a batch that makes these records.
pub(crate) fn batch_body(ids: &[Uuid], record_bytes: usize, text: fn(Uuid, usize) -> String) -> String {
    let puts: Vec<String> =
        ids.iter().map(|id| format!(r#"{{"op":"create","record":{}}}"#, text(*id, record_bytes))).collect();
    format!(r#"{{"operations":[{}]}}"#, puts.join(","))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::reply_length;

    #[test]
    fn a_reply_is_taken_only_when_all_of_it_is_there() {
        for whole in ["+OK\r\n", ":1\r\n", "$-1\r\n", "$3\r\nabc\r\n", "*2\r\n$1\r\na\r\n$-1\r\n", "*0\r\n"] {
            let bytes = whole.as_bytes();
            assert_eq!(reply_length(bytes).unwrap(), Some(bytes.len()), "{whole:?}");
            let with_more = [bytes, b"+OK\r\n"].concat();
            assert_eq!(reply_length(&with_more).unwrap(), Some(bytes.len()), "{whole:?}");
            for cut in 0..bytes.len() {
                assert_eq!(reply_length(&bytes[..cut]).unwrap(), None, "{:?}", &whole[..cut]);
            }
        }
        assert!(reply_length(b"HTTP/1.1\r\n").is_err());
    }
}
