//! The last look: once all faults are over and nobody writes, all replicas must finally show the same, and that is what
//! everybody would read from then on. It ends each record's history.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use http::Method;
use serde_json::Value;

use super::clients::value_of;
use super::scene::Scene;
use crate::history::{Call, Effect, LAST_LOOK, Outcome};

/// Persons by their ids.
pub(super) type Persons = BTreeMap<String, Value>;

/// What exists before any client starts.
///
/// # Errors
/// No store answers.
pub(super) async fn first_look(scene: &Scene) -> anyhow::Result<Persons> {
    let (i, _) = *scene.stores().first().context("no store is known")?;
    Ok(persons(scene, i).await?.0)
}

async fn persons(scene: &Scene, i: u16) -> anyhow::Result<(Persons, u64)> {
    let address = scene.store(i).with_context(|| format!("nobody knows where pod {i} is"))?;
    let answer = scene.http.send(Method::GET, address, "/persons", None, Duration::from_secs(20)).await?;
    ensure!(answer.status == 200, "pod {i}: {} {}", answer.status, answer.text());
    let sequence = answer.sequence().context("GET /persons came without its sequence")?;
    let Value::Array(list) = answer.json() else { bail!("pod {i}: GET /persons is no list") };
    let mut persons = Persons::new();
    for person in list {
        let id = person["id"].as_str().unwrap_or("").to_owned();
        ensure!(persons.insert(id.clone(), person).is_none(), "pod {i} lists {id} twice");
    }
    Ok((persons, sequence))
}

/// The common content of this many replicas, if they agree and have every acknowledged write.
///
/// # Errors
/// Where they do not agree.
pub(super) async fn agreed(scene: &Scene, pods: u16) -> anyhow::Result<Persons> {
    let highest = scene.recorder.highest_sequence();
    let (first, _) = persons(scene, 0).await?;
    for i in 0..pods {
        let (shown, sequence) = persons(scene, i).await?;
        ensure!(sequence >= highest, "pod {i} has applied {sequence}, and {highest} was acknowledged");
        for id in first.keys().chain(shown.keys()) {
            let (one, other) = (first.get(id), shown.get(id));
            ensure!(one == other, "pods 0 and {i} differ: {} and {}", show(one), show(other));
        }
    }
    Ok(first)
}

/// Ends every record's history with what is there now; strangers, and what is gone of the beginning, are violations.
pub(super) fn last_look(scene: &Scene, before: &Persons, now: &Persons) {
    let keys = scene.recorder.keys();
    for (key, id) in (0..).zip(&keys) {
        let content = match now.get(id) {
            None => None,
            Some(person) => match value_of(person) {
                Some(value) => Some(value),
                None => {
                    scene.recorder.violation(format!("nobody wrote {person}"));
                    continue;
                }
            },
        };
        let ticket = scene.recorder.call(LAST_LOOK, 0, key, Call::Read);
        scene.recorder.returned(&ticket, Outcome::Done(Effect::Found(content)), None);
    }
    let known: HashSet<&String> = keys.iter().collect();
    for (id, person) in before {
        if now.get(id) != Some(person) {
            scene.recorder.violation(format!("{person} was there before, now there is {}", show(now.get(id))));
        }
    }
    for (id, person) in now {
        if !known.contains(id) && !before.contains_key(id) {
            scene.recorder.violation(format!("nobody wrote {person}"));
        }
    }
}

fn show(person: Option<&Value>) -> String {
    person.map_or("nothing".to_owned(), Value::to_string)
}
