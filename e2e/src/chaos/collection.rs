//! What format 2 brings, used once: a definition, records that are found by an index at every pod, and values that are unique.

use std::time::Duration;

use anyhow::{Context, ensure};
use http::Method;
use leasehold_testkit::ask_until;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// For each request, until it is answered as it must be.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// Longer than a write may take.
const ANSWER: Duration = Duration::from_secs(8);

/// Where the format has risen, and nothing is broken.
///
/// # Errors
/// A pod does not answer as it must.
pub(super) async fn is_used(cluster: &Cluster) -> anyhow::Result<()> {
    let definition = json!({
        "id": "string",
        "schema": {"required": ["email"], "properties": {"email": {"type": "string"}}},
        "indexes": [{"fields": ["/email"], "unique": true}],
    });
    at_leader(cluster, Method::PUT, "/api/collections/users", &definition, &[200, 201]).await?;
    for number in 0..20 {
        let user = json!({"id": format!("user {number}"), "email": format!("{number}@example.org")});
        // 200: it is there already, from a request whose answer was lost.
        at_leader(cluster, Method::POST, "/users", &user, &[200, 201]).await?;
    }
    at_leader(cluster, Method::POST, "/users", &json!({"id": "twin", "email": "7@example.org"}), &[409]).await?;
    at_leader(cluster, Method::POST, "/users", &json!({"id": "nobody"}), &[400]).await?;
    for i in cluster.pods() {
        let path = "/users?where.email=7@example.org&consistency=strong";
        ask_until("the pod finds the record by its index", PATIENCE, LOOK, async || {
            let found = cluster.http().get_json(cluster.store(i), path).await?;
            ensure!(found[0]["id"] == "user 7" && found[1].is_null(), "pod {i}: {found}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn at_leader(cluster: &Cluster, method: Method, path: &str, body: &Value, wanted: &[u16]) -> anyhow::Result<()> {
    ask_until(format!("{method} {path} is answered {wanted:?}"), PATIENCE, LOOK, async || {
        let (leader, _) = cluster.leader().await.context("nobody leads")?;
        let answer = cluster.http().send(method.clone(), cluster.store(leader), path, Some(body), ANSWER).await?;
        ensure!(wanted.contains(&answer.status), "{}: {}", answer.status, answer.text());
        Ok(())
    })
    .await
}
