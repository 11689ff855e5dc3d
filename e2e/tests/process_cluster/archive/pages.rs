//! The pages on backups: each command that they tell a reader to type.

use std::{fmt::Write as _, path::Path, process::Command};

use leasehold_e2e::{
    archive::Archive,
    cluster::{Cluster, Config},
};

use crate::{all_ready, cluster_of};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
/// Programs that the pages use, beside our own.
const TOOLS: [&str; 5] = ["age", "age-keygen", "curl", "jq", "zstd"];

/// A page's commands as one script. An agent goes on beside what follows, which begins when the agent has all data.
fn script(page: &str) -> String {
    let mut script = String::from(
        "set -euo pipefail\n\
         curl() { command curl --fail-with-body --show-error \"$@\"; }\n\
         agents=()\n\
         trap 'for agent in \"${agents[@]}\"; do kill \"$agent\"; wait \"$agent\" || true; done' EXIT\n\
         ready() { for _ in {1..600}; do backup verify > /dev/null 2>&1 && return; sleep 0.1; done; backup verify; }\n",
    );
    for block in page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        for line in block.lines() {
            let agent = line.contains("backup agent ");
            let _ = match (agent, line.starts_with("BACKUP_URL=")) {
                (false, _) => writeln!(script, "{line}"),
                (true, false) => writeln!(script, "{line} --listen 127.0.0.1:0 & agents+=($!); ready"),
                (true, true) => {
                    let url = line.split(' ').next().unwrap_or_default();
                    writeln!(script, "{line} --listen 127.0.0.1:0 & agents+=($!); (export {url}; ready)")
                }
            };
        }
    }
    script
}

/// Can the page's commands run here? Says what is missing.
fn tools_are_here() -> bool {
    let missing: Vec<_> = TOOLS.iter().filter(|tool| Command::new(tool).arg("--version").output().is_err()).collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: not installed: {missing:?}; as root on Debian, `make e2e-packages` installs them");
    }
    missing.is_empty()
}

/// Runs it in a folder of its own, with what the page names replaced.
async fn runs(script: String, folder: &Path, archive: &Archive, replaced: &[(&str, String)]) -> String {
    let mut script = script.replace("/var/backups/leasehold", &archive.folder().display().to_string());
    for (what, by) in replaced {
        assert!(script.contains(what), "{what} is not on the page");
        script = script.replace(what, by);
    }
    let programs = archive.program().parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.arg("-c").arg(script).env("PATH", path).current_dir(folder);
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{}\n{out}\n{err}", ran.status);
    out.into_owned()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{DOCS}/{name}")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_page_on_backups_runs() {
    if !tools_are_here() {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let archive = Archive::at(&files.path().join("archive")).unwrap();
    let setting = cluster_of(3).await;
    let leader = setting.cluster.wait_for_leader().await.unwrap();
    // Not counted: it is one pod, and tests that wait for two places could wait for each other.
    let other = Cluster::start(Config::for_tests(1).unwrap()).unwrap();
    all_ready(&other).await;
    let replaced = [
        ("db=http://localhost:8089", format!("db=http://{}", setting.cluster.store(leader))),
        ("other=http://localhost:9089", format!("other=http://{}", other.store(0))),
    ];
    let script = script(&page("backup.md"));
    // A reader takes longer than the agent until the first changes are there.
    let looks = "cd /var/backups/leasehold/*/";
    assert!(script.contains(looks), "{script}");
    let waits = "for _ in {1..600}; do compgen -G '/var/backups/leasehold/*/changes/*.zst' > /dev/null && break; sleep 0.1; done";
    let script = script.replace(looks, &format!("{waits}\n{looks}"));
    assert!(script.lines().count() > 25, "{script}");
    let out = runs(script, files.path(), &archive, &replaced).await;
    for part in ["Heidloff", "\"position\"", "\"lastName\":\"Koester\""] {
        assert!(out.contains(part), "{part} is missing:\n{out}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_record_is_put_back_as_its_page_says() {
    if !tools_are_here() {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let archive = Archive::at(&files.path().join("archive")).unwrap();
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    let leader = cluster.wait_for_leader().await.unwrap();
    let agent = super::agent_of(cluster, &archive, 0, &["--changes-every", "1s"]).await;
    let db = format!("db=http://{}", cluster.store(leader));
    let mut script = script(&page("restore-a-record.md"));
    // Its reader waits for the archive to have the deletion; here that is shorter than on the page.
    let looks = "backup cat --collection invoices --id 2026-2 --history";
    assert!(script.contains(looks), "{script}");
    let waits = "for _ in {1..600}; do \
        [ \"$(backup cat --at latest --collection invoices --id 2026-1 | jq .total)\" != 0 ] || break; sleep 0.1; done";
    script = script.replace(looks, &format!("{waits}\n{looks}"));
    let out = runs(script, files.path(), &archive, &[("db=http://localhost:8089", db)]).await;
    assert!(out.contains("89.90"), "{out}");
    let found = cluster.http().get_json(cluster.store(leader), "/invoices?consistency=strong").await.unwrap();
    let totals: std::collections::BTreeMap<_, _> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].as_str().unwrap().to_owned(), one["total"].as_f64().unwrap()))
        .collect();
    assert_eq!(totals, [("2026-1".to_owned(), 12.5), ("2026-2".to_owned(), 89.9)].into());
    drop(agent);
}
