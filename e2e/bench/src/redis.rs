//! Redis in the bench: a master and two replicas, each with its own append-only file, fsynced before the answer.

use std::{net::SocketAddr, time::Duration};

use anyhow::{bail, ensure};
use leasehold_testkit::ask_until;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    place::{LOOK, Place},
    record,
};

/// `appendfsync always` everywhere; no RDB snapshots beside it; a replica's first copy starts at once instead of after 5 s.
/// Everything else has its default.
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

/// One node is the master, and the others have its data: which.
pub(super) async fn settled(place: &Place) -> anyhow::Result<usize> {
    let mut masters = Vec::new();
    for i in 0..place.count() {
        let said = ask(place.client(i), &["INFO", "replication"]).await?;
        if said.contains("role:master") {
            let online = said.matches("state=online").count();
            ensure!(online + 1 == place.count(), "{online} of {} replicas are online", place.count() - 1);
            masters.push(i);
        } else {
            ensure!(said.contains("master_link_status:up"), "replica {i} has no link");
        }
    }
    ensure!(masters.len() == 1, "masters are {masters:?}");
    // What was written is on the replicas, too.
    let count = (place.count() - 1).to_string();
    let waited = ask(place.client(masters[0]), &["WAIT", &count, "2000"]).await?;
    ensure!(waited.trim() == format!(":{count}"), "WAIT says {waited:?}");
    Ok(masters[0])
}

/// What the Sentinels call the master.
const NAME: &str = "bench";

/// The arguments of Sentinel `i`. A master counts as down after the second that etcd and our store wait, too (Sentinel's
/// own default is 30 s), when two of three agree; everything else has its default.
pub(super) fn sentinel_args(place: &Place, i: usize) -> anyhow::Result<Vec<String>> {
    let file = place.folder().join(format!("sentinel-{i}.conf"));
    let text = format!(
        "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {} 2\n\
         sentinel down-after-milliseconds {NAME} 1000\n",
        place.helper(i).port(),
        place.folder().display(),
        place.client(0).port(),
    );
    std::fs::write(&file, text)?;
    Ok(vec![file.display().to_string(), "--sentinel".to_owned()])
}

/// Each Sentinel knows the master that there is, both replicas and both other Sentinels.
pub(super) async fn watched(place: &Place) -> anyhow::Result<()> {
    let master = settled(place).await?;
    let port = place.client(master).port();
    for i in 0..SENTINELS {
        let said = ask(place.helper(i), &["INFO", "sentinel"]).await?;
        let wanted = format!("status=ok,address=127.0.0.1:{port},slaves={},sentinels={SENTINELS}", place.count() - 1);
        ensure!(said.contains(&wanted), "Sentinel {i} says {said:?}");
    }
    Ok(())
}

/// How many there are.
pub(super) const SENTINELS: usize = 3;

/// Makes another node the master, as an operator does before he ends this one.
pub(super) async fn hand_over(place: &Place, from: usize) -> anyhow::Result<()> {
    let said = ask(place.helper(0), &["SENTINEL", "FAILOVER", NAME]).await?;
    ensure!(said.starts_with("+OK"), "the Sentinel says {said:?}");
    let old = place.client(from);
    ask_until("another node is the master", Duration::from_secs(30), LOOK, || async move {
        let said = ask(place.helper(0), &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).await?;
        ensure!(said.starts_with("*2") && !said.contains(&format!("\r\n{}\r\n", old.port())), "{said:?}");
        Ok(())
    })
    .await
}

/// The node itself has the record number `last`.
pub(super) async fn serves(node: SocketAddr, last: u64) -> anyhow::Result<()> {
    let said = ask(node, &["EXISTS", &format!("person:{}", record::known_id(last))]).await?;
    ensure!(said.trim() == ":1", "{said:?}");
    Ok(())
}
