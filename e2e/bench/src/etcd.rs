//! etcd in the bench: how to start it, and the few calls of its JSON gateway that the harness itself needs. Its own client
//! (e2e/bench/peers) makes the load.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};
use http::Method;
use leasehold_e2e::client::Http;
use serde_json::{Value, json};

use super::{place::Place, record};

/// Default times (heartbeat 100 ms, election 1 s: our heartbeat and lost-time) and default durability (fsync before the
/// answer). Only the quota is raised, for the workloads of a million records.
pub(super) fn args(place: &Place, i: usize, members: usize, state: &str) -> anyhow::Result<Vec<String>> {
    let peer = |i: usize| format!("http://{}", place.peer(i));
    let client = format!("http://{}", place.client(i));
    let cluster: Vec<String> = (0..members).map(|i| format!("node-{i}={}", peer(i))).collect();
    let pairs = [
        ("--name", format!("node-{i}")),
        ("--data-dir", place.data(i)?.display().to_string()),
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client),
        ("--listen-peer-urls", peer(i)),
        ("--initial-advertise-peer-urls", peer(i)),
        ("--initial-cluster", cluster.join(",")),
        ("--initial-cluster-state", state.to_owned()),
        ("--quota-backend-bytes", (8_u64 << 30).to_string()),
        ("--log-level", "error".to_owned()),
    ];
    Ok(pairs.into_iter().map(|(flag, value)| format!("{flag}={value}")).collect())
}

async fn call(http: &Http, node: SocketAddr, path: &str, body: &Value) -> anyhow::Result<Value> {
    let answer = http.send(Method::POST, node, path, Some(body), Duration::from_secs(5)).await?;
    ensure!(answer.status == 200, "{path} is answered {}: {}", answer.status, answer.text());
    Ok(answer.json())
}

/// All members have caught up and name one leader: its place among the nodes.
pub(super) async fn settled(place: &Place) -> anyhow::Result<usize> {
    let http = Http::default();
    let mut seen = Vec::new();
    for i in 0..place.count() {
        let status = call(&http, place.client(i), "/v3/maintenance/status", &json!({})).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let applied: u64 = text(&status["raftAppliedIndex"]).parse().unwrap_or(0);
        seen.push((text(&status["header"]["member_id"]), text(&status["leader"]), applied));
    }
    let leader = seen[0].1.clone();
    ensure!(seen.iter().all(|(_, other, _)| *other == leader), "they name different leaders: {seen:?}");
    let most = seen.iter().map(|(_, _, applied)| *applied).max().unwrap_or(0);
    ensure!(seen.iter().all(|(_, _, applied)| applied + 10 >= most), "one is behind: {seen:?}");
    seen.iter().position(|(member, _, _)| *member == leader).context("nobody leads")
}

/// Announces a new member to the cluster.
pub(super) async fn add_member(place: &Place, i: usize) -> anyhow::Result<()> {
    let urls = json!({"peerURLs": [format!("http://{}", place.peer(i))]});
    call(&Http::default(), place.client(settled(place).await?), "/v3/cluster/member/add", &urls).await.map(drop)
}

/// The member itself gives out the record number `last`.
pub(super) async fn serves(node: SocketAddr, last: u64) -> anyhow::Result<()> {
    let key = base64(format!("/persons/{}", record::known_id(last)).as_bytes());
    let answer = call(&Http::default(), node, "/v3/kv/range", &json!({"key": key, "serializable": true})).await?;
    ensure!(answer["count"] == "1", "the record {last} is not there yet");
    Ok(())
}

pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
