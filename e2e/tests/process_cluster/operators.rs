//! What operators ask of the `sidecar` binary, with a whole cluster behind it.

use std::process::Command;

use leasehold_e2e::cluster::{Cluster, LEASE, NAMESPACE, Part, STATEFUL_SET, Signal};
use serde_json::{Value, json};

use crate::{cluster_of, lease_is_true};

/// As `kubectl exec` into the sidecar of pod `i`: (it succeeded, what it printed, what it complained of).
async fn operator(cluster: &Cluster, i: u16, args: &[&str]) -> (bool, String, String) {
    let kubeconfig = cluster.shared_directory(i).with_file_name("kubeconfig");
    let mut command = Command::new(cluster.program(Part::Sidecar));
    command
        .args(args)
        .args(["--namespace", NAMESPACE, "--lease", LEASE, "--name", &cluster.pod_name(i), "--app", "fencing"])
        .args(["--stateful-set", STATEFUL_SET, "--member-address", &cluster.ports().member_address()])
        .args(["--member-sidecar-address", &cluster.ports().member_sidecar_address()])
        .args(["--listen", &cluster.sidecar(i).to_string()])
        .arg("--directory")
        .arg(cluster.shared_directory(i))
        .arg("--kubeconfig")
        .arg(kubeconfig);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

async fn status(cluster: &Cluster, i: u16) -> Value {
    let (well, stdout, stderr) = operator(cluster, i, &["status", "-o", "json"]).await;
    assert!(well, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_all_pods_and_move_the_leadership() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    let leader = cluster.wait_for_leader().await.unwrap();

    let seen = status(cluster, (leader + 1) % 3).await;
    assert_eq!(seen["leader"], cluster.pod_name(leader));
    assert_eq!(seen["pods"].as_array().unwrap().len(), 3);
    for pod in seen["pods"].as_array().unwrap() {
        assert_eq!((&pod["ready"], &pod["term"]), (&json!(true), &seen["term"]), "{pod}");
        assert!(pod["lagEntries"].is_u64() && pod["version"].is_string() && pod["position"].is_object(), "{pod}");
    }
    let (_, table, _) = operator(cluster, leader, &["status"]).await;
    assert_eq!(
        table.lines().filter(|line| line.starts_with(STATEFUL_SET) && line.ends_with("yes")).count(),
        3,
        "{table}"
    );

    setting
        .under_load(async |cluster, load| {
            // To a named pod, and to the fittest one; asked at any pod.
            let to = cluster.pod_name((leader + 1) % 3);
            let (well, said, stderr) = operator(cluster, leader, &["switchover", "--to", &to]).await;
            assert!(
                well && said.contains(&format!("{to} leads in term")) && said.contains(" ms after"),
                "{said}{stderr}"
            );
            eprint!("{said}");
            load.progresses(cluster, 10).await.unwrap();
            let (well, said, stderr) = operator(cluster, (leader + 2) % 3, &["switchover"]).await;
            assert!(well && !said.starts_with(&to) && said.contains("leads in term"), "{said}{stderr}");
            eprint!("{said}");
            load.progresses(cluster, 10).await.unwrap();
        })
        .await;

    // The change of leadership was measured, and not from the last news before it.
    let metrics = cluster.http().get(cluster.sidecar(leader), "/metrics").await.unwrap().text();
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{metrics}"));
        line.trim().parse().unwrap()
    };
    let (count, sum) = (value("leasehold_failover_seconds_count"), value("leasehold_failover_seconds_sum"));
    assert!((1.0..=4.0).contains(&count) && sum < 10.0, "{count} changes took {sum} s together");

    // One that cannot lead is refused before anything is changed, and one that is gone is shown.
    let now = cluster.wait_for_leader().await.unwrap();
    let dead = (now + 1) % 3;
    cluster.kill_and_hold(dead, Part::Store).unwrap();
    cluster
        .until("its sidecar has noticed", || async move {
            let seen = status(cluster, now).await;
            let pod = seen["pods"][usize::from(dead)].clone();
            anyhow::ensure!(pod["ready"] == false, "{pod}");
            Ok(())
        })
        .await
        .unwrap();
    let (well, _, stderr) = operator(cluster, now, &["switchover", "--to", &cluster.pod_name(dead)]).await;
    assert!(!well && stderr.contains("cannot lead") && stderr.contains("Nothing was changed"), "{stderr}");
    let nobody = format!("{STATEFUL_SET}-9");
    let (well, _, stderr) = operator(cluster, now, &["switchover", "--to", &nobody, "--no-wait"]).await;
    assert!(!well && stderr.contains("is not a member") && stderr.contains(&cluster.pod_name(now)), "{stderr}");
    cluster.kill_and_hold(dead, Part::Sidecar).unwrap();
    let (well, table, stderr) = operator(cluster, now, &["status"]).await;
    let row = table.lines().find(|line| line.starts_with(&cluster.pod_name(dead)));
    assert!(well && row.is_some_and(|row| row.contains("unknown")), "{table}{stderr}");
    let (well, table, stderr) = operator(cluster, dead, &["status"]).await;
    assert!(well && table.contains(&cluster.pod_name(now)), "from the pod without a sidecar: {table}{stderr}");
    cluster.start_again(dead, Part::Sidecar);
    cluster.start_again(dead, Part::Store);
    setting.all_ready().await;
}

/// Its process lives and holds its lock, and its last status.json says that all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_frozen_is_shown_so_and_is_no_successor_until_it_runs_again() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    let leader = cluster.wait_for_leader().await.unwrap();
    let frozen = (leader + 1) % 3;
    let shown = async |wanted: bool| {
        let seen = status(cluster, leader).await;
        let pod = seen["pods"][usize::from(frozen)].clone();
        anyhow::ensure!(pod["appFrozen"] == wanted && pod["ready"] != wanted, "{pod}");
        anyhow::ensure!(pod["lagEntries"].is_u64() != wanted && pod["appAlive"] == true, "{pod}");
        Ok(())
    };
    cluster.until("all is well", || shown(false)).await.unwrap();
    assert!(cluster.signal(frozen, Part::Store, Signal::STOP));
    cluster.until("it is shown as frozen", || shown(true)).await.unwrap();
    let (well, table, _) = operator(cluster, leader, &["status"]).await;
    assert!(well && table.contains("(app frozen)"), "{table}");
    let (well, _, stderr) = operator(cluster, leader, &["switchover", "--to", &cluster.pod_name(frozen)]).await;
    assert!(!well && stderr.contains("its app is frozen"), "{stderr}");
    assert!(cluster.signal(frozen, Part::Store, Signal::CONT));
    cluster.until("it is shown as it is", || shown(false)).await.unwrap();
}

/// The same by annotations alone, as `kubectl annotate lease` writes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_alone_is_enough_to_pause_and_to_switch_over() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    let leader = cluster.wait_for_leader().await.unwrap();
    let annotate = |name: &str, value: Value| {
        cluster.edit_lease(&json!({"metadata": {"annotations": {format!("leasehold.dev/{name}"): value}}})).unwrap();
    };
    let to = (leader + 2) % 3;
    annotate("preferred-holder", json!(cluster.pod_name(to)));
    cluster
        .until("it leads", || async move {
            anyhow::ensure!(cluster.leader().await.is_some_and(|(i, _)| i == to));
            let lease = cluster.lease().unwrap();
            anyhow::ensure!(lease["metadata"]["annotations"]["leasehold.dev/preferred-holder"].is_null(), "{lease}");
            Ok(())
        })
        .await
        .unwrap();
    let (well, said, _) = operator(cluster, to, &["pause"]).await;
    assert!(well && said.contains("resume"), "{said}");
    cluster
        .until("all know that it is paused", || async move {
            let seen = status(cluster, leader).await;
            anyhow::ensure!(seen["state"]["role"]["paused"] == true, "{seen}");
            Ok(())
        })
        .await
        .unwrap();
    let (well, table, _) = operator(cluster, leader, &["status"]).await;
    assert!(well && table.contains("paused"), "{table}");
    annotate("paused", Value::Null);
    lease_is_true(cluster).await;
}
