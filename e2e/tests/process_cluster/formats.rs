//! Stores of two builds: this one, and one that reads a made-up format 3 as well (the feature `made-up-format`): an update,
//! the raise, and the ways back.
//!
//! Only where that store is built: that takes a minute, and `make made-up-format` does it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use leasehold_e2e::client::Answer;
use leasehold_e2e::cluster::{Cluster, Config, Part, Program, Programs};
use leasehold_e2e::load::Load;
use serde_json::{Value, json};

use crate::{Setting, cluster_of, cluster_with};

/// What `make made-up-format` makes, beside the folder of the ordinary programs; or what the variable names.
fn made_up() -> Option<Program> {
    let ordinary = Programs::find().unwrap().store.path;
    let beside = || ordinary.ancestors().nth(2).unwrap().join("made-up-format/store");
    let path = std::env::var_os("LEASEHOLD_MADE_UP_FORMAT").map_or_else(beside, PathBuf::from);
    let time_of = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    if time_of(&path) >= time_of(&ordinary) {
        return Some(Program::at(path));
    }
    // Past the capture of a test that passes, or nobody would see it.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {} is missing, or older than {}: make made-up-format",
        path.display(),
        ordinary.display()
    );
    None
}

/// As a StatefulSet's controller does it with another image: the pod ends, and starts with that store.
fn exchange(cluster: &Cluster, i: u16, store: &Program) {
    cluster.set_program(i, Part::Store, store.clone());
    cluster.delete_pod(i).unwrap();
}

async fn status(cluster: &Cluster, i: u16) -> anyhow::Result<Value> {
    cluster.http().get_json(cluster.store(i), "/api/status").await
}

/// It runs that store, is ready, and writes this format; clients go on.
async fn runs(cluster: &Cluster, load: &Load, i: u16, in_force: u32) {
    cluster
        .until("the pod is back, and ready", || async move {
            cluster.runs_its_program(i, Part::Store)?;
            cluster.http().get(cluster.store(i), "/readyz").await?;
            let formats = status(cluster, i).await?["formats"].clone();
            ensure!(formats["inForce"] == in_force, "pod {i}: {formats}");
            Ok(())
        })
        .await
        .unwrap();
    load.progresses(cluster, 10).await.unwrap();
}

/// That pod leads, also after what moved the leadership a moment ago.
async fn leads(cluster: &Cluster, i: u16) {
    cluster
        .until("it leads", || async move {
            if cluster.leader().await.context("nobody leads")?.0 != i {
                cluster.ask_switchover(i).map_err(|failure| anyhow::anyhow!(failure.message))?;
                anyhow::bail!("another one leads");
            }
            Ok(())
        })
        .await
        .unwrap();
}

/// A write that needs format 3 wherever there is one, and its record.
async fn write_of_format_3(cluster: &Cluster, i: u16, id: uuid::Uuid) -> anyhow::Result<(Answer, Value)> {
    let person = json!({"firstName": "Of", "lastName": "format 3", "id": id});
    let request = Request::put(format!("http://{}/persons/{id}", cluster.store(i)))
        .header("content-type", "application/json")
        .header("idempotency-key", format!("made-up-format-3-{id}"))
        .body(Full::new(Bytes::from(person.to_string())))?;
    Ok((cluster.http().send_as_is(request, Duration::from_secs(8)).await?, person))
}

/// The leader refuses such a write, and names these pods with these reasons.
async fn is_pending(cluster: &Cluster, leader: u16, held_by: &[(u16, &str)]) {
    let name = |(i, why): &(u16, &str)| json!({"name": cluster.pod_name(*i), "why": why});
    let wanted = Value::Array(held_by.iter().map(name).collect());
    let wanted = &wanted;
    cluster
        .until("the upgrade is pending", || async move {
            let (answer, _) = write_of_format_3(cluster, leader, uuid::Uuid::new_v4()).await?;
            let mut body = answer.json();
            ensure!(answer.status == 503 && body["type"] == "urn:leasehold:upgrade-pending", "{}", answer.text());
            ensure!(body["format"] == 3 && body["inForce"] == 2, "{body}");
            body["heldBackBy"].as_array_mut().context("no pods")?.sort_by_key(|one| one["name"].to_string());
            ensure!(body["heldBackBy"] == *wanted, "{body}");
            Ok(())
        })
        .await
        .unwrap();
}

/// All files of a volume, byte by byte.
fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.append(&mut bytes_of(&path));
        } else {
            all.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    all
}

/// What the older store says at its end.
const SENTENCE: &str =
    "has format 3, and this build reads formats 1 to 2: run a build that reads format 3; the volume is unchanged";

/// After so many starts, the older store has been started once more on that volume, and ended with exit code 2.
async fn ends_with_2(cluster: &Cluster, i: u16, starts: u32) {
    cluster
        .until("the older store ends with exit code 2", || async move {
            cluster.runs_its_program(i, Part::Store).err().context("it runs")?;
            let (now, code) = (cluster.starts(i, Part::Store), cluster.last_exit_code(i, Part::Store));
            ensure!(now > starts && code == Some(2), "{code:?} after {now} starts");
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_format_rises_when_the_last_pod_is_updated_and_a_rollback_after_that_ends_with_one_clear_sentence() {
    let Some(later) = made_up() else { return };
    let setting = cluster_of(3).await;
    let older = Programs::find().unwrap().store;
    let of_format_3 = uuid::Uuid::new_v4();
    setting
        .under_load(async |cluster, load| {
            exchange(cluster, 2, &later);
            runs(cluster, load, 2, 2).await;
            leads(cluster, 2).await;
            is_pending(cluster, 2, &[(0, "older-build"), (1, "older-build")]).await;
            // Until the raise any pod can go back.
            exchange(cluster, 2, &older);
            runs(cluster, load, 2, 2).await;
            exchange(cluster, 2, &later);
            runs(cluster, load, 2, 2).await;
            exchange(cluster, 1, &later);
            runs(cluster, load, 1, 2).await;
            leads(cluster, 2).await;
            is_pending(cluster, 2, &[(0, "older-build")]).await;
            exchange(cluster, 0, &later);
            for i in 0..3 {
                runs(cluster, load, i, 3).await;
            }

            let leader = cluster.wait_for_leader().await.unwrap();
            let (answer, person) = write_of_format_3(cluster, leader, of_format_3).await.unwrap();
            assert_eq!(answer.status, 201, "{}", answer.text());
            setting.history.acknowledged(leader, &of_format_3.to_string(), Some(person), answer.sequence());

            let back = (leader + 1) % 3;
            exchange(cluster, back, &older);
            ends_with_2(cluster, back, 0).await;
            load.progresses(cluster, 20).await.unwrap();
            // Once more, with nothing else that happens to the volume.
            cluster.kill_and_hold(back, Part::Store).unwrap();
            let (starts, before) = (cluster.starts(back, Part::Store), bytes_of(&cluster.volume(back)));
            let said_before = cluster.log(back, Part::Store).unwrap().len();
            cluster.start_again(back, Part::Store);
            ends_with_2(cluster, back, starts).await;
            cluster.kill_and_hold(back, Part::Store).unwrap();
            assert!(bytes_of(&cluster.volume(back)) == before, "the volume was touched");
            let said = cluster.log(back, Part::Store).unwrap().split_off(said_before);
            let ends: Vec<&str> = said.lines().filter(|line| line.contains("the store stops")).collect();
            assert!(ends.iter().all(|line| line.contains(SENTENCE)) && !ends.is_empty(), "{said}");
            exchange(cluster, back, &later);
            runs(cluster, load, back, 3).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_format_that_is_not_allowed_is_not_raised_and_every_step_of_the_update_has_a_way_back() {
    let Some(later) = made_up() else { return };
    let mut config = Config::for_tests(3).unwrap();
    config.store_args.extend(["--format-max", "2"].map(str::to_owned));
    let setting: Setting = cluster_with(config).await;
    let older = Programs::find().unwrap().store;
    setting
        .under_load(async |cluster, load| {
            for i in [2, 1, 0] {
                for store in [&later, &older, &later] {
                    exchange(cluster, i, store);
                    runs(cluster, load, i, 2).await;
                }
            }
            let leader = cluster.wait_for_leader().await.unwrap();
            is_pending(cluster, leader, &[(0, "format-max"), (1, "format-max"), (2, "format-max")]).await;
            for i in [2, 1, 0] {
                exchange(cluster, i, &older);
                runs(cluster, load, i, 2).await;
            }
        })
        .await;
}
