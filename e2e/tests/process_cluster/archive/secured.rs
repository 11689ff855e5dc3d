//! An agent, and the commands that ask a store, where stores speak TLS alone and want tokens.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use http::Method;
use leasehold_e2e::{
    archive::{Agent, Archive},
    client::Http,
    cluster::{Cluster, Config, Signal},
};
use serde_json::{Value, json};

use super::super::{
    CLUSTERS, all_ready,
    trust::{Authority, token, write},
};
use super::{at_leader, cluster_id, config};

/// What a cluster's pods and its agent have: each its own Secret.
struct Secrets {
    files: tempfile::TempDir,
    authority: Authority,
    /// Which signs later.
    next: Authority,
}

impl Secrets {
    fn new() -> Secrets {
        let secrets =
            Secrets { files: tempfile::tempdir().unwrap(), authority: Authority::new(), next: Authority::new() };
        for folder in ["tls", "tokens", "agent"] {
            std::fs::create_dir(secrets.at(folder)).unwrap();
        }
        write(&secrets.at("tls"), "ca.crt", &secrets.authority.pem());
        secrets.authority.issue(&secrets.at("tls"));
        for right in ["read", "write", "admin", "backup", "read.tenants"] {
            write(&secrets.at("tokens"), right, &token(right));
        }
        write(&secrets.at("agent"), "ca.crt", &secrets.authority.pem());
        secrets
    }

    fn at(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// The agent's token from now on.
    fn agent_shows(&self, token: &str) {
        write(&self.at("agent"), "token", &format!("{token}\n"));
    }

    async fn cluster(&self) -> Cluster {
        let mut config: Config = config(&self.at("collections.json"));
        for (flag, folder) in [("--api-tls", "tls"), ("--api-tokens", "tokens")] {
            config.store_args.extend([flag.to_owned(), self.at(folder).display().to_string()]);
        }
        let authorities = self.authority.pem() + &self.next.pem();
        config.http = Http::secured(&authorities, &token("admin")).unwrap();
        let cluster = Cluster::start(config).unwrap();
        all_ready(&cluster).await;
        cluster
    }

    /// An agent with its own token and these certificates.
    fn agent(&self, cluster: &Cluster, archive: &Archive, number: u16, ca: &Path) -> Agent {
        let token = self.at("agent/token").display().to_string();
        let (ca, fast) = (ca.display().to_string(), ["--changes-every", "1s", "--full-every", "24h"]);
        let args = [&["--store-token-file", &token, "--store-ca", &ca][..], &fast].concat();
        archive.agent(cluster, number, &args).unwrap()
    }
}

async fn says(cluster: &Cluster, agent: &Agent, words: &[&str]) {
    cluster
        .until("the agent says what is wrong", || async {
            let log = agent.log();
            ensure!(log.lines().any(|line| words.iter().all(|word| line.contains(word))), "no {words:?} in\n{log}");
            Ok(())
        })
        .await
        .unwrap();
}

async fn made(cluster: &Cluster, id: &str) -> u64 {
    let tenant = json!({"id": id, "email": format!("{id}@example.org"), "plan": "free"});
    let answer = at_leader(cluster, Method::PUT, &format!("/tenants/{id}"), &tenant).await;
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
    answer.sequence().unwrap()
}

/// All connections are made anew.
async fn all_pods_start_again(cluster: &Cluster) {
    cluster.kill_all();
    all_ready(cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_archives_a_cluster_with_tls_and_tokens_while_both_are_replaced() {
    let (secrets, _permit) = (Secrets::new(), CLUSTERS.acquire().await.unwrap());
    let archive = Archive::at(&secrets.at("archive")).unwrap();
    let cluster = &secrets.cluster().await;
    let trusted = secrets.at("agent/ca.crt");

    // A stranger's certificates, and the token of another right: nothing is archived, and the log says why.
    write(&secrets.at("agent"), "stranger.crt", &Authority::new().pem());
    secrets.agent_shows(&token("read"));
    let fooled = secrets.agent(cluster, &archive, 1, &secrets.at("agent/stranger.crt"));
    let agent = secrets.agent(cluster, &archive, 0, &trusted);
    says(cluster, &fooled, &["invalid peer certificate", "--store-ca"]).await;
    says(cluster, &agent, &["403", "/api/snapshot", "the right backup or admin", "--store-token-file"]).await;
    fooled.end(Signal::TERM).unwrap();
    assert_eq!(archive.end(&cluster_id(cluster).await).unwrap(), 0, "it was archived");

    // The right one needs no restart.
    secrets.agent_shows(&token("backup"));
    agent.has(cluster, made(cluster, "one").await).await.unwrap();

    // Both are valid for a while, as a Secret with two lines has it; then the old one is not.
    write(&secrets.at("tokens"), "backup", &format!("{}\n{}\n", token("new"), token("backup")));
    secrets.agent_shows(&token("new"));
    write(&secrets.at("tokens"), "backup", &token("new"));
    all_pods_start_again(cluster).await;
    agent.has(cluster, made(cluster, "two").await).await.unwrap();

    // A certificate is renewed, and then signed by another authority, which the agent learns of before.
    secrets.authority.issue(&secrets.at("tls"));
    all_pods_start_again(cluster).await;
    agent.has(cluster, made(cluster, "three").await).await.unwrap();
    write(&secrets.at("agent"), "ca.crt", &(secrets.authority.pem() + &secrets.next.pem()));
    secrets.next.issue(&secrets.at("tls"));
    all_pods_start_again(cluster).await;
    agent.has(cluster, made(cluster, "four").await).await.unwrap();
    let gaps = agent.metric("leasehold_backup_gaps_total").await.unwrap();
    assert!(gaps == 0.0, "{gaps} gaps");
    assert_eq!(agent.log().matches("starting").count(), 1, "it ended:\n{}", agent.log());

    agent.end(Signal::TERM).unwrap();
    archive.run("verify", &["--all"]).unwrap();
    archive.run("drill", &[]).unwrap();
    let found = archive.run("cat", &["--at", "latest", "--collection", "tenants"]).unwrap();
    assert!(["one", "two", "three", "four"].iter().all(|id| found.contains(&format!("{id}@example.org"))), "{found}");
}

/// Such a token may watch, but not everything: what it does not see must not be missing in the archive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_token_sees_one_collection_alone_archives_nothing_more() {
    let (secrets, _permit) = (Secrets::new(), CLUSTERS.acquire().await.unwrap());
    let archive = Archive::at(&secrets.at("archive")).unwrap();
    let cluster = &secrets.cluster().await;
    secrets.agent_shows(&token("backup"));
    let agent = secrets.agent(cluster, &archive, 0, &secrets.at("agent/ca.crt"));
    agent.has(cluster, made(cluster, "one").await).await.unwrap();

    secrets.agent_shows(&token("read.tenants"));
    agent.kill();
    let person = json!({"firstName": "Ada", "lastName": "Lovelace"});
    let hidden = at_leader(cluster, Method::POST, "/persons", &person).await;
    assert_eq!(hidden.status, 201, "{}", hidden.text());
    made(cluster, "two").await;
    says(cluster, &agent, &["/api/watch", "the right backup or admin", "--store-token-file"]).await;

    secrets.agent_shows(&token("backup"));
    agent.has(cluster, made(cluster, "three").await).await.unwrap();
    agent.end(Signal::TERM).unwrap();
    archive.run("verify", &["--all"]).unwrap();
    let persons = archive.run("cat", &["--at", "latest", "--collection", "persons"]).unwrap();
    assert!(persons.contains("Lovelace"), "{persons}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_into_a_cluster_with_tls_and_tokens_needs_its_certificates_and_a_token_of_admin() {
    let (secrets, _permit) = (Secrets::new(), CLUSTERS.acquire().await.unwrap());
    let archive = Archive::at(&secrets.at("archive")).unwrap();
    let cluster = &secrets.cluster().await;
    secrets.agent_shows(&token("backup"));
    let agent = secrets.agent(cluster, &archive, 0, &secrets.at("agent/ca.crt"));
    let last = made(cluster, "one").await;
    agent.has(cluster, last).await.unwrap();
    agent.end(Signal::TERM).unwrap();
    let gone = at_leader(cluster, Method::DELETE, "/tenants/one", &Value::Null).await;
    assert_eq!(gone.status, 204, "{}", gone.text());

    for right in ["admin", "backup"] {
        write(&secrets.at("agent"), right, &token(right));
    }
    let path = |name: &str| secrets.at(&format!("agent/{name}")).display().to_string();
    let (ca, admin, backup) = (path("ca.crt"), path("admin"), path("backup"));
    let leader = cluster.wait_for_leader().await.unwrap();
    let address = cluster.store(leader);
    let (plain, into, at) = (format!("http://{address}"), format!("https://{address}"), last.to_string());
    let same = ["--same-cluster-too", "--at", &at, "--collections", "tenants"];
    let restore = |args: &[&str]| archive.run("restore", &[&same[..], args].concat());
    for (args, words) in [
        (&["--into", &into, "--token-file", &admin][..], "--ca"),
        (&["--into", &into, "--ca", &ca], "--token-file"),
        (&["--into", &into, "--ca", &ca, "--token-file", &backup], "right admin"),
        (&["--into", &plain, "--token-file", &admin], "https://"),
    ] {
        let refused = restore(args).unwrap_err().to_string();
        assert!(refused.contains(words) && refused.lines().count() < 8, "no {words} in {refused}");
    }
    let found = at_leader(cluster, Method::GET, "/tenants/one", &Value::Null).await;
    assert_eq!(found.status, 404, "{}", found.text());
    let said = restore(&["--into", &into, "--ca", &ca, "--token-file", &admin]).unwrap();
    assert!(said.contains("restored 2 records of 1 collection"), "{said}");
    let found = at_leader(cluster, Method::GET, "/tenants/one", &Value::Null).await;
    assert_eq!((found.status, &found.json()["email"]), (200, &json!("one@example.org")), "{}", found.text());
}
