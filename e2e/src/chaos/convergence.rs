//! The last look: once all faults are over and nobody writes, all replicas must finally show the same, and that is what
//! everybody would read from then on. It ends each record's history.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use http::Method;
use serde_json::Value;

use super::clients::value_of;
use super::scene::Scene;
use crate::history::{Answered, Call, Effect, LAST_LOOK, Outcome};

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

/// The same for the collections: on this many replicas they and their definitions are equal, and the watcher has seen every write
/// that was acknowledged.
///
/// # Errors
/// Where they do not agree.
pub(super) async fn collections(scene: &Scene, pods: u16) -> anyhow::Result<()> {
    let (mut highest, mut upto) = (0, 0);
    scene.recorder.note(|noted| {
        let done = noted.writes.iter().filter(|write| write.changes()).filter_map(|write| match write.told {
            Answered::Done(sequence) => Some(sequence),
            Answered::Not(_) | Answered::Unknown(_) => None,
        });
        (highest, upto) = (done.max().unwrap_or(0), noted.upto);
    });
    ensure!(upto >= highest, "{highest} was acknowledged, and the watcher has seen commits up to {upto}");
    let mut first = Vec::new();
    for i in 0..pods {
        let address = scene.store(i).with_context(|| format!("nobody knows where pod {i} is"))?;
        let mut shown = Vec::new();
        for path in ["/api/collections", "/parcels", "/accounts"] {
            let answer = scene.http.send(Method::GET, address, path, None, Duration::from_secs(20)).await?;
            let sequence = answer.sequence().with_context(|| format!("{path} came without its sequence"))?;
            ensure!(answer.status == 200, "pod {i}, {path}: {} {}", answer.status, answer.text());
            ensure!(sequence >= highest, "pod {i} has applied {sequence}, and {highest} was acknowledged");
            shown.push(answer.text());
        }
        if i == 0 {
            first.clone_from(&shown);
        }
        ensure!(first == shown, "pods 0 and {i} differ: {first:?} and {shown:?}");
    }
    Ok(())
}

/// Waits until no record is there whose time is over, or one should have gone long ago; and notes that nothing was broken meanwhile.
///
/// # Errors
/// No store answers.
pub(super) async fn calm(scene: &Scene) -> anyhow::Result<()> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let (from, (_, address)) = (now(), *scene.stores().first().context("no store is known")?);
    // A leader's process removes nothing in its first minute.
    while now() < from + 80_000 {
        let listed =
            scene.http.send(Method::GET, address, "/parcels?consistency=strong", None, Duration::from_secs(5)).await;
        let over = |parcel: &Value| parcel["goes"].as_i64().is_some_and(|goes| goes * 1_000 < now());
        let listed = listed.map(|answer| answer.json());
        if listed.is_ok_and(|list| list.as_array().is_some_and(|list| !list.iter().any(over))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    scene.recorder.note(|noted| noted.calm = Some((from, now())));
    Ok(())
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
