//! Collections of anybody's records: the examples of their page, and what leaders that are killed leave of them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use leasehold_e2e::client::Answer;
use leasehold_e2e::cluster::{Cluster, Part};
use leasehold_testkit::ask_until;
use serde_json::{Value, json};

use crate::cluster_of;

/// A request to the present leader, again until it is decided; with a key it is done once, whatever becomes of an attempt.
async fn at_leader(cluster: &Cluster, method: Method, path: &str, body: &Value, key: Option<&str>) -> Answer {
    cluster
        .until("a leader decides it", || async {
            let (leader, _) = cluster.leader().await.context("nobody leads")?;
            let mut request = Request::builder().method(method.clone());
            request = request.uri(format!("http://{}{path}", cluster.store(leader)));
            request = request.header("content-type", "application/json");
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            let request = request.body(Full::new(Bytes::from(body.to_string())))?;
            let answer = cluster.http().send_as_is(request, Duration::from_secs(8)).await?;
            ensure!(answer.status < 500 && answer.status != 421, "{}: {}", answer.status, answer.text());
            Ok(answer)
        })
        .await
        .unwrap()
}

/// Every replica has exactly these records, and all have the same sum.
async fn all_have(cluster: &Cluster, collection: &str, wanted: &BTreeMap<String, Value>) {
    cluster
        .until("all replicas have the same records", || async move {
            let mut sums = Vec::new();
            for i in 0..cluster.wanted() {
                let path = format!("/{collection}?consistency=strong");
                let records = cluster.http().get_json(cluster.store(i), &path).await?;
                let records = records.as_array().context("no array")?.iter();
                let found: BTreeMap<String, Value> =
                    records.map(|one| (one["id"].as_str().unwrap_or_default().to_owned(), one.clone())).collect();
                let lost: Vec<&String> = wanted.keys().filter(|id| !found.contains_key(*id)).collect();
                ensure!(lost.is_empty(), "pod {i} lacks {lost:?}");
                ensure!(found == *wanted, "pod {i} has {} records, not {}", found.len(), wanted.len());
                let status = cluster.http().get_json(cluster.store(i), "/api/status").await?;
                sums.push((status["applied"].clone(), status["sum"].clone()));
            }
            ensure!(sums.windows(2).all(|two| two[0] == two[1]), "{sums:?}");
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_of_the_page_on_collections_runs() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/collections.md")).unwrap();
    let examples: Vec<&str> = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 7, "{} examples", examples.len());
    let leader = cluster.wait_for_leader().await.unwrap();
    // An answer above 399 ends the script; a watch ends by its time (28).
    let script = format!(
        "set -euo pipefail\ncurl() {{ command curl --fail-with-body --show-error \"$@\" || [ $? = 28 ]; }}\n{}",
        examples.join("\n")
    )
    .replace("db=http://localhost:8089", &format!("db=http://{}", cluster.store(leader)));
    let ran = tokio::task::spawn_blocking(move || Command::new("bash").arg("-c").arg(script).output().unwrap());
    let ran = ran.await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{}\n{out}\n{err}", ran.status);
    for part in
        ["\"state\":\"ready\"", "leasehold-count: 2", "\"priority\":7", "event: bookmark", "\"change\":\"created\""]
    {
        assert!(out.contains(part), "{part} is missing:\n{out}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_keep_their_rules_and_their_records_when_leaders_are_killed() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    let definition = |index: bool| {
        let by_plan = json!({"fields": ["/plan", {"path": "/seats", "type": "number"}]});
        let unique = json!({"fields": ["/email"], "unique": true});
        json!({
            "id": "string",
            "schema": {"type": "object", "required": ["email"], "properties": {"seats": {"type": "integer", "minimum": 1}}},
            "indexes": if index { vec![unique, by_plan] } else { vec![unique] },
            "expires": "/until",
        })
    };
    let defined = at_leader(cluster, Method::PUT, "/api/collections/tenants", &definition(false), None).await;
    assert!([200, 201].contains(&defined.status), "{}", defined.text());

    let mut wanted = BTreeMap::new();
    for number in 0..600_u32 {
        if number % 200 == 100 {
            let leader = cluster.wait_for_leader().await.unwrap();
            cluster.kill(leader, Part::Store);
        }
        let id = format!("tenant {number}");
        let record = json!({"id": id, "email": format!("{number}@example.org"), "plan": "abc"[..=(number % 3) as usize], "seats": number + 1});
        let answer = at_leader(cluster, Method::POST, "/tenants", &record, Some(&format!("key {number}"))).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        wanted.insert(id, record);
        if number % 50 == 0 {
            let twin = json!({"id": format!("twin {number}"), "email": format!("{number}@example.org")});
            let answer = at_leader(cluster, Method::POST, "/tenants", &twin, None).await;
            assert_eq!(
                (answer.status, &answer.json()["id"]),
                (409, &json!(format!("tenant {number}"))),
                "{}",
                answer.text()
            );
            let wrong = json!({"id": "none", "email": "none", "seats": 0});
            let answer = at_leader(cluster, Method::POST, "/tenants", &wrong, None).await;
            assert_eq!((answer.status, &answer.json()["pointer"]), (400, &json!("/seats")), "{}", answer.text());
        }
    }
    all_have(cluster, "tenants", &wanted).await;

    // A change that takes steps: whichever leader is left ends it.
    let leader = cluster.wait_for_leader().await.unwrap();
    let indexed = definition(true);
    let changed = at_leader(cluster, Method::PUT, "/api/collections/tenants", &indexed, None);
    let (changed, ()) = tokio::join!(changed, async { _ = cluster.kill(leader, Part::Store) });
    assert!([200, 202].contains(&changed.status), "{}", changed.text());
    cluster
        .until("the new index is in force everywhere", || async {
            for i in 0..cluster.wanted() {
                let path = "/tenants?where.plan=a&where.seats.gte=300&sort=-seats&limit=3&consistency=strong";
                let page = cluster.http().get_json(cluster.store(i), path).await?;
                let seats: Vec<u64> =
                    page.as_array().context("no page")?.iter().filter_map(|one| one["seats"].as_u64()).collect();
                ensure!(seats == [598, 595, 592], "pod {i}: {page}");
            }
            Ok(())
        })
        .await
        .unwrap();

    // Several records, all or none; and one that goes by itself.
    let operations = json!({"operations": [
        {"collection": "tenants", "op": "check", "id": "tenant 1", "ifMatch": "*"},
        {"collection": "tenants", "op": "delete", "id": "tenant 2"},
        {"collection": "persons", "op": "create", "record": {"firstName": "A", "lastName": "B"}},
    ]});
    let answer = at_leader(cluster, Method::POST, "/api/transaction", &operations, Some("a transaction")).await;
    let again = at_leader(cluster, Method::POST, "/api/transaction", &operations, Some("a transaction")).await;
    assert_eq!((answer.status, answer.text()), (200, again.text()));
    wanted.remove("tenant 2");
    let short = json!({"id": "short", "email": "short"});
    let answer = at_leader(cluster, Method::POST, "/tenants?expires-in=1s", &short, None).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    // A leader's clock must have been steady for a minute.
    ask_until("it has expired", Duration::from_secs(150), Duration::from_millis(100), || async {
        let answer = at_leader(cluster, Method::GET, "/tenants/short", &Value::Null, None).await;
        ensure!(answer.status == 404, "it is there");
        Ok::<(), anyhow::Error>(())
    })
    .await
    .unwrap();
    all_have(cluster, "tenants", &wanted).await;
}
