//! Redis in the bench: a master and two replicas, each with its own append-only file, fsynced before the answer.

use std::{net::SocketAddr, time::Duration};

use anyhow::{bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{place::Place, record};

/// `appendfsync always` everywhere; no RDB snapshots beside it; a replica's first copy begins at once instead of after
/// 5 s. All else as it is by default.
pub(super) fn args(place: &Place, i: usize) -> anyhow::Result<Vec<String>> {
    let mut words = vec![
        "--port".to_owned(),
        place.client(i).port().to_string(),
        "--bind".to_owned(),
        "127.0.0.1".to_owned(),
        "--dir".to_owned(),
        place.data(i)?.display().to_string(),
    ];
    let more = "--appendonly yes --appendfsync always --repl-diskless-sync-delay 0 --daemonize no --save";
    words.extend(more.split(' ').map(str::to_owned));
    // The argument of --save: no snapshots.
    words.push(String::new());
    if i > 0 {
        words.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), place.client(0).port().to_string()]);
    }
    Ok(words)
}

/// One command; the whole reply as text.
async fn ask(node: SocketAddr, words: &[&str]) -> anyhow::Result<String> {
    let talk = async {
        let mut stream = TcpStream::connect(node).await?;
        let line = format!("{}\r\n", words.join(" "));
        stream.write_all(line.as_bytes()).await?;
        let mut input = Vec::new();
        loop {
            if super::load::link::reply_length(&input)?.is_some() {
                return Ok(String::from_utf8_lossy(&input).into_owned());
            }
            if stream.read_buf(&mut input).await? == 0 {
                bail!("Redis closed the connection");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), talk).await?
}

/// Both replicas have the master's data.
pub(super) async fn settled(place: &Place) -> anyhow::Result<()> {
    let said = ask(place.client(0), &["INFO", "replication"]).await?;
    let online = said.matches("state=online").count();
    ensure!(online + 1 == place.count(), "{online} of {} replicas are online", place.count() - 1);
    // What was written is on the replicas, too.
    let count = (place.count() - 1).to_string();
    let waited = ask(place.client(0), &["WAIT", &count, "2000"]).await?;
    ensure!(waited.trim() == format!(":{count}"), "WAIT says {waited:?}");
    for i in 1..place.count() {
        let said = ask(place.client(i), &["INFO", "replication"]).await?;
        ensure!(said.contains("master_link_status:up"), "replica {i} has no link");
    }
    Ok(())
}

/// The node itself has the record number `last`.
pub(super) async fn serves(node: SocketAddr, last: u64) -> anyhow::Result<()> {
    let said = ask(node, &["EXISTS", &format!("person:{}", record::known_id(last))]).await?;
    ensure!(said.trim() == ":1", "{said:?}");
    Ok(())
}
