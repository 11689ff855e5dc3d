//! The examples of the chart: what their pages tell a reader to type, on stores that have what the chart makes of their values.

use std::process::Command;

use leasehold_e2e::cluster::{Cluster, Config};
use serde_json::Value;

use crate::{CLUSTERS, all_ready};

const HELM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../helm");

/// A block of calls, and what they answer.
struct Block {
    calls: String,
    answer: Option<String>,
}

/// The blocks of a page: those in `sh`, each with the one in `json` that follows it, if one does.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for rest in page.split("\n```").skip(1).step_by(2) {
        let (kind, text) = rest.split_once('\n').unwrap();
        match kind {
            "sh" => blocks.push(Block { calls: text.to_owned(), answer: None }),
            "json" => blocks.last_mut().unwrap().answer = Some(text.to_owned()),
            other => panic!("a block of {other:?}"),
        }
    }
    blocks
}

/// Is that line as the page has it? `…` stands for anything.
fn is_like(pattern: &str, line: &str) -> bool {
    let parts: Vec<&str> = pattern.split('…').collect();
    let Some((first, others)) = parts.split_first() else { return false };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let Some((last, middle)) = others.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A file of the ConfigMap, as the golden file of the chart's tests has it.
fn rendered(example: &str, file: &str) -> String {
    let golden = std::fs::read_to_string(format!("{HELM}/tests/golden/{example}.yaml")).unwrap();
    let (_, text) = golden.split_once(&format!("\n  {file}: |\n")).unwrap_or_else(|| panic!("{example} has no {file}"));
    let lines = text.lines().map_while(|line| line.strip_prefix("    "));
    lines.collect::<Vec<_>>().join("\n")
}

async fn runs_as_its_page_says(example: &'static str) {
    let page = std::fs::read_to_string(format!("{HELM}/examples/{example}.md")).unwrap();
    let blocks = blocks(&page);
    assert!(blocks.len() >= 5, "{example}: {} blocks", blocks.len());
    let files = tempfile::tempdir().unwrap();
    let collections = files.path().join("collections.json");
    std::fs::write(&collections, rendered(example, "collections.json")).unwrap();
    let mut config = Config::for_tests(3).unwrap();
    config.initial_data = Some(rendered(example, "initial-data.json").parse::<Value>().unwrap());
    config.store_args.extend(["--collections-file".to_owned(), collections.display().to_string()]);
    let _permit = CLUSTERS.acquire().await.unwrap();
    let cluster = Cluster::start(config).unwrap();
    all_ready(&cluster).await;
    let leader = cluster.wait_for_leader().await.unwrap();
    cluster
        .until("the file is applied", || async {
            let status = cluster.http().get_json(cluster.store(leader), "/api/status").await?;
            anyhow::ensure!(status["collectionsFile"]["applied"] == true, "{}", status["collectionsFile"]);
            Ok(())
        })
        .await
        .unwrap();

    // A watch ends by its time (28), or because its reader has seen enough (23).
    let mut script = "set -uo pipefail\ncurl() { command curl \"$@\" || [ $? = 28 ] || [ $? = 23 ]; }\n".to_owned();
    for block in &blocks {
        script += &format!("{}\necho; echo '----'\n", block.calls);
    }
    let script = script.replace("db=http://localhost:8089", &format!("db=http://{}", cluster.store(leader)));
    let ran = tokio::task::spawn_blocking(move || Command::new("bash").arg("-c").arg(script).output().unwrap());
    let ran = ran.await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let answers: Vec<&str> = out.split("\n----\n").collect();
    assert!(ran.status.success() && answers.len() == blocks.len() + 1, "{}\n{out}\n{err}", ran.status);
    for (block, answer) in blocks.iter().zip(answers) {
        let lines = |text: &str| text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let (wanted, found) = (lines(block.answer.as_deref().unwrap_or_default()), lines(answer));
        let is_right =
            wanted.len() == found.len() && wanted.iter().zip(&found).all(|(pattern, line)| is_like(pattern, line));
        assert!(is_right, "{example}:\n{}\nanswered\n{answer}\ninstead of\n{wanted:#?}\n{err}", block.calls);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feature_flags_run_as_their_page_says() {
    runs_as_its_page_says("feature-flags").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_of_tenants_runs_as_its_page_says() {
    runs_as_its_page_says("tenant-registry").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_of_jobs_runs_as_its_page_says() {
    runs_as_its_page_says("job-queue").await;
}

#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    for (pattern, line, is) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a…", "ab", true),
        ("a…c", "abc", true),
        ("a…c", "abcd", false),
        ("…b…", "abc", true),
        ("{…\"x\"…}", "{\"y\"}", false),
        ("…", "", true),
    ] {
        assert_eq!(is_like(pattern, line), is, "{pattern} {line}");
    }
}
