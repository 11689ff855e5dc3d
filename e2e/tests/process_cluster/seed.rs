//! The walk-through that the project grew from.

use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use leasehold_api::Kind;
use leasehold_e2e::{
    client::Answer,
    cluster::{Cluster, NAMESPACE, Part},
    history::initial_persons,
};
use serde_json::{Value, json};

use super::{Setting, cluster_of, lease_is_true, sorted_by_id};

const SOON: Duration = Duration::from_secs(10);

async fn call(cluster: &Cluster, i: u16, method: Method, path: &str, body: Option<&Value>) -> Answer {
    cluster.http().send(method, cluster.store(i), path, body, SOON).await.unwrap()
}

async fn raw(cluster: &Cluster, i: u16, method: Method, path: &str, content_type: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", cluster.store(i)))
        .header(header::CONTENT_TYPE, content_type)
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    cluster.http().send_as_is(request, SOON).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_of_the_article_behave_as_they_did_there() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    let leader = cluster.wait_for_leader().await.unwrap();
    let walk = Walk { setting: &setting, leader, follower: (leader + 1) % 3 };
    let johanna = json!({"firstName": "Johanna", "lastName": "Koester", "id": "e956b5d0-fa0c-40e8-9da9-333c214dcaf7"});

    walk.a_follower_has_the_four_persons_in_their_order().await;
    walk.all_name_the_leader().await;
    sidecars_agree(cluster, leader).await;

    walk.a_follower_refuses_a_write_and_says_who_writes(&johanna).await;
    walk.what_the_leader_writes_every_follower_has_then(&johanna).await;
    walk.a_person_is_found_changed_and_deleted_by_id(&johanna).await;

    bad_requests_store_nothing(cluster, leader).await;
    setting.converges().await;
    assert_eq!(cluster.starts(leader, Part::Store), 1, "the store was restarted");

    walk.the_deleted_pod_of_the_leader_comes_back_as_a_follower().await;
    walk.a_fourth_pod_reads_the_data_from_the_others().await;
}

/// The article's chapters, in their order.
struct Walk<'a> {
    setting: &'a Setting,
    leader: u16,
    follower: u16,
}

impl Walk<'_> {
    async fn at(&self, i: u16, method: Method, path: &str, body: Option<&Value>) -> Answer {
        call(&self.setting.cluster, i, method, path, body).await
    }

    async fn a_follower_has_the_four_persons_in_their_order(&self) {
        let persons = self.setting.cluster.persons(self.follower).await.unwrap();
        assert_eq!(Value::Array(persons), initial_persons());
    }

    async fn all_name_the_leader(&self) {
        let (cluster, leader) = (&self.setting.cluster, self.leader);
        lease_is_true(cluster).await;
        for i in 0..3 {
            let said = self.at(i, Method::GET, "/api/leader", None).await.json();
            assert_eq!(said["isLeader"], i == leader, "{said}");
            assert_eq!(said["name"], cluster.pod_name(leader), "{said}");
            assert_eq!(said["self"], cluster.pod_name(i), "{said}");
            assert_eq!(said["address"], cluster.store(leader).to_string(), "{said}");
            let request = Request::get(format!("http://{}/api/leader", cluster.store(i)))
                .header(header::ACCEPT, "text/plain")
                .body(Full::default())
                .unwrap();
            let text = cluster.http().send_as_is(request, SOON).await.unwrap().text();
            assert_eq!(text.trim(), if i == leader { "true" } else { "false" });
        }
    }

    async fn a_follower_refuses_a_write_and_says_who_writes(&self, person: &Value) {
        let refused = self.at(self.follower, Method::POST, "/persons", Some(person)).await;
        assert_eq!(refused.status, 421, "{}", refused.text());
        assert_eq!(refused.headers[header::CONTENT_TYPE], "application/problem+json");
        let leader = self.setting.cluster.store(self.leader).to_string();
        assert!(refused.text().contains(&leader), "{}", refused.text());
        assert!(refused.headers.contains_key(header::LOCATION));
        self.setting.history.refused(id_of(person));
        self.setting.converges().await;
    }

    async fn what_the_leader_writes_every_follower_has_then(&self, person: &Value) {
        let (leader, id) = (self.leader, id_of(person));
        let made = self.at(leader, Method::POST, "/persons", Some(person)).await;
        assert_eq!((made.status, made.json()), (201, person.clone()), "{}", made.text());
        assert!(made.headers[header::LOCATION].to_str().unwrap().ends_with(&format!("/persons/{id}")));
        self.setting.history.acknowledged(leader, id, Some(person.clone()), made.sequence());
        self.setting.converges().await;
        assert_eq!(self.at(leader, Method::POST, "/persons", Some(person)).await.status, 200, "the same again");
        assert_eq!(self.at(leader, Method::POST, "/persons", Some(&other_than(person))).await.status, 409);
    }

    async fn a_person_is_found_changed_and_deleted_by_id(&self, person: &Value) {
        let (leader, follower, id) = (self.leader, self.follower, id_of(person));
        let (history, path, other) = (&self.setting.history, format!("/persons/{id}"), other_than(person));
        let found = self.at(follower, Method::GET, &path, None).await;
        assert_eq!((found.status, found.json()), (200, person.clone()));
        let changed = self.at(leader, Method::PUT, &path, Some(&other)).await;
        assert_eq!(changed.status, 200, "{}", changed.text());
        history.acknowledged(leader, id, Some(other), changed.sequence());
        self.setting.converges().await;
        assert_eq!(self.at(follower, Method::DELETE, &path, None).await.status, 421);
        let deleted = self.at(leader, Method::DELETE, &path, None).await;
        assert_eq!(deleted.status, 204, "{}", deleted.text());
        history.acknowledged(leader, id, None, deleted.sequence());
        self.setting.converges().await;
        assert_eq!(self.at(follower, Method::GET, &path, None).await.status, 404);
    }

    /// The data stays, and somebody else leads.
    async fn the_deleted_pod_of_the_leader_comes_back_as_a_follower(&self) {
        let (cluster, leader) = (&self.setting.cluster, self.leader);
        let uid = || -> anyhow::Result<Value> {
            let pod = cluster.api().get(Kind::Pod, NAMESPACE, &cluster.pod_name(leader));
            Ok(pod.map_err(|failure| anyhow::anyhow!(failure.message))?["metadata"]["uid"].clone())
        };
        let (uid, before) = (&uid, &uid().unwrap());
        cluster.delete_pod(leader).unwrap();
        let successor = cluster.wait_for_leader_other_than(Some(leader)).await.unwrap();
        cluster
            .until("the pod is a new one", || async move {
                ensure!(uid()? != *before);
                Ok(())
            })
            .await
            .unwrap();
        self.setting.all_ready().await;
        self.setting.converges().await;
        lease_is_true(cluster).await;
        assert_eq!(cluster.leader().await.map(|(i, _)| i), Some(successor), "the one that came back follows");
    }

    async fn a_fourth_pod_reads_the_data_from_the_others(&self) {
        let cluster = &self.setting.cluster;
        cluster.scale(4).unwrap();
        self.setting.converges().await;
        assert_eq!(sorted_by_id(&json!(cluster.persons(3).await.unwrap())), sorted_by_id(&initial_persons()));
    }
}

fn id_of(person: &Value) -> &str {
    person["id"].as_str().unwrap()
}

/// Another person under the same id.
fn other_than(person: &Value) -> Value {
    json!({"firstName": "Other", "lastName": "Koester", "id": person["id"]})
}

async fn sidecars_agree(cluster: &Cluster, leader: u16) {
    cluster
        .until("the sidecars and their files name the leader", || async move {
            for i in 0..3 {
                let name = cluster.http().get_json(cluster.sidecar(i), "/").await?;
                ensure!(name["name"] == cluster.pod_name(leader), "{name}");
                let word = cluster.http().get(cluster.sidecar(i), "/role").await?.text();
                let wanted = if i == leader { "leader" } else { "follower" };
                ensure!(word.trim() == wanted, "pod {i}: {word}");
                let file = std::fs::read_to_string(cluster.shared_directory(i).join("role"))?;
                ensure!(file.trim() == wanted, "pod {i}: {file}");
                let file = std::fs::read_to_string(cluster.shared_directory(i).join("leader"))?;
                ensure!(file.trim() == cluster.store(leader).to_string(), "pod {i}: {file}");
                let balanced =
                    cluster.http().send(Method::GET, cluster.sidecar(i), "/leader", None, SOON).await?.status;
                ensure!(balanced == if i == leader { 200 } else { 503 }, "pod {i}: {balanced}");
            }
            Ok(())
        })
        .await
        .unwrap();
}

async fn bad_requests_store_nothing(cluster: &Cluster, leader: u16) {
    let json = "application/json";
    let name = |n: usize| format!(r#"{{"firstName": "{}", "lastName": "x"}}"#, "x".repeat(n));
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let cases: Vec<(&str, &str, String, u16)> = vec![
        ("not JSON", json, "{".into(), 400),
        ("not an object", json, "[]".into(), 400),
        ("a wrong type", json, r#"{"firstName": 1, "lastName": "x"}"#.into(), 400),
        ("a missing field", json, r#"{"firstName": "x"}"#.into(), 400),
        ("an unknown field", json, r#"{"firstName": "x", "lastName": "x", "age": 1}"#.into(), 400),
        ("an empty name", json, name(0), 400),
        ("a long name", json, name(257), 400),
        ("a bad id", json, r#"{"firstName": "x", "lastName": "x", "id": "7"}"#.into(), 400),
        ("too deep", json, deep, 400),
        ("another type", "text/plain", name(1), 415),
        ("too large", json, name(2 << 20), 413),
    ];
    for (what, content_type, body, status) in cases {
        let answer = raw(cluster, leader, Method::POST, "/persons", content_type, &body).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json", "{what}");
        assert!(answer.json()["type"].as_str().unwrap().starts_with("urn:leasehold:"), "{what}: {}", answer.text());
    }
    assert_eq!(raw(cluster, leader, Method::POST, "/nowhere", json, "{}").await.status, 404);
    assert_eq!(raw(cluster, leader, Method::DELETE, "/persons", json, "").await.status, 405);
    assert_eq!(raw(cluster, leader, Method::GET, "/persons/not-a-uuid", json, "").await.status, 400);
}
