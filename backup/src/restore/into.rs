//! Writes an archive's records into a cluster that runs: definitions that are missing there, then every record, by the API.
//!
//! ```text
//!   data of the point ──▶ PUT /api/collections/{c}  (If-None-Match: *)  those that are missing
//!                     ──▶ POST /{c}:batch           puts, in order of creation, at most 1,000 and 1 MiB at once
//! ```
//!
//! Puts can be repeated, so the same command continues what was interrupted. Records that are there and not in the archive
//! stay. Creation numbers and sequences are the cluster's own. Its expiry continues, which a warning says
//! before anything is written.

use super::api::{Api, segment};
use crate::archive::{Archive, CommandError, blocking};
use crate::args::RestoreArgs;
use crate::cat::batch;
use crate::progress::{Progress, count};
use crate::walk::restored;
use leasehold_archive::catalog::Edge;
use leasehold_archive::time::Time;
use leasehold_documents::replay::Replay;
use leasehold_documents::{BATCH_OPERATIONS_MAX, Collection, Form};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;
use std::collections::BTreeSet;

/// Below the store's own limit of a body, with room for what surrounds a record.
const BATCH_BYTES_MAX: usize = 900_000;

pub(super) async fn run(args: &RestoreArgs, url: &Url) -> Result<String, CommandError> {
    let mut api = Api::new(url, args.token_file.as_deref(), args.ca.as_deref())?;
    let archive = Archive::open(&args.source, Some(&args.keys)).await?;
    let cluster = cluster_of(&mut api).await?;
    if cluster == archive.cluster.0.to_string() && !args.same_cluster_too {
        return Err(CommandError::Said(format!(
            "{url} is the cluster {cluster} that the archive is of: the old records would overwrite the present ones, and \
             what was created since would stay; to do that on purpose, add --same-cluster-too"
        )));
    }
    let (point, from) = (args.at, archive.cluster.0);
    let (replay, mut progress) = blocking(move || {
        let mut progress = Progress::new();
        let replay = restored(&archive, point, &mut progress)?;
        Ok((replay, progress))
    })
    .await?;
    let chosen = chosen(&replay, &args.collections)?;
    warn_of_expiry(&mut api, &chosen).await?;
    let there = collections_of(&mut api).await?;
    let (mut defined, mut written) = (0, 0);
    for (name, collection) in &chosen {
        if !there.contains(*name) {
            define(&mut api, name, collection).await?;
            defined += 1;
        }
        written += write(&mut api, name, collection, &mut progress).await?;
    }
    let edge = Edge { seq: replay.position(), time: Time::from_ms(replay.time_ms()) };
    Ok(format!(
        "restored {} of {} at {edge} of cluster {from} into {}; {} new (read {})",
        count(written, "record"),
        count(chosen.len() as u64, "collection"),
        url.as_str().trim_end_matches('/'),
        count(defined, "definition"),
        progress.summary()
    ))
}

/// Records whose time is over go as soon as they are written, unless expiry is paused there.
async fn warn_of_expiry(api: &mut Api, chosen: &[(&str, &Collection)]) -> Result<(), CommandError> {
    let expire = chosen.iter().filter(|(_, collection)| collection.definition().expires.is_some());
    let names: Vec<&str> = expire.map(|(name, _)| *name).collect();
    if names.is_empty() {
        return Ok(());
    }
    let metrics = api.call(Method::GET, "/metrics", &[], None).await?;
    if !metrics.body.lines().any(|line| line == "leasehold_store_expiry_paused 1") {
        eprintln!(
            "backup: warning: records of {} have a time of expiry; those whose time is over go at once; to keep them, PUT \
             /api/expiry {{\"paused\": true}} first",
            names.join(", ")
        );
    }
    Ok(())
}

fn chosen<'a>(replay: &'a Replay, wanted: &[String]) -> Result<Vec<(&'a str, &'a Collection)>, CommandError> {
    let all: Vec<(&str, &Collection)> = replay.documents().collections().collect();
    if let Some(missing) = wanted.iter().find(|name| !all.iter().any(|(other, _)| other == name)) {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        return Err(CommandError::Said(format!("there was no collection {missing}; there were: {}", names.join(", "))));
    }
    Ok(all.into_iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|other| other == name)).collect())
}

async fn cluster_of(api: &mut Api) -> Result<String, CommandError> {
    let status = json(api, "/api/status").await?;
    status["clusterId"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| CommandError::Said("the store does not say yet of which cluster it is; try again".to_owned()))
}

async fn collections_of(api: &mut Api) -> Result<BTreeSet<String>, CommandError> {
    let all = json(api, "/api/collections").await?;
    let names = all.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

async fn json(api: &mut Api, path: &str) -> Result<Value, CommandError> {
    let answer = api.call(Method::GET, path, &[], None).await?;
    let body = serde_json::from_str(&answer.body).ok().filter(|_| answer.status == StatusCode::OK);
    body.ok_or_else(|| CommandError::Said(format!("GET {path} failed: {}", answer.detail())))
}

async fn define(api: &mut Api, name: &str, collection: &Collection) -> Result<(), CommandError> {
    // Clients do not choose a form: what was `persons` becomes a collection like others, if somebody has dropped it there.
    let definition = collection.definition().clone().with_form(Form::Any).to_json();
    let path = format!("/api/collections/{}", segment(name));
    let answer = api.call(Method::PUT, &path, &[("if-none-match", "*")], Some(definition)).await?;
    match answer.status {
        StatusCode::CREATED | StatusCode::OK => {
            api.has_written = true;
            Ok(())
        }
        // Somebody else has just defined it.
        StatusCode::PRECONDITION_FAILED => Ok(()),
        _ => Err(api.ended(format!("the store refuses to define {name}: {}", answer.detail()))),
    }
}

/// In order of creation. Says how many.
async fn write(
    api: &mut Api,
    name: &str,
    collection: &Collection,
    progress: &mut Progress,
) -> Result<u64, CommandError> {
    let mut batch: Vec<(String, &str)> = Vec::new();
    let (mut bytes, mut written) = (0, 0);
    let total = collection.len();
    for (_, record) in collection.after(0) {
        let Some(id) = collection.id_of(record) else { continue };
        let (id, json) = (id.to_string(), record.as_str());
        let room = id.len() + json.len() + 100;
        if !batch.is_empty() && (batch.len() == BATCH_OPERATIONS_MAX || bytes + room > BATCH_BYTES_MAX) {
            written += flush(api, name, &mut batch).await?;
            bytes = 0;
            progress.shows(&format!("{name}: {written} of {total}"));
        }
        bytes += room;
        batch.push((id, json));
    }
    Ok(written + flush(api, name, &mut batch).await?)
}

async fn flush(api: &mut Api, name: &str, records: &mut Vec<(String, &str)>) -> Result<u64, CommandError> {
    let all = std::mem::take(records);
    let collection = segment(name);
    let answer = match &all[..] {
        [] => return Ok(0),
        // As large as a body may be, perhaps.
        [(id, record)] => {
            let path = format!("/{collection}/{}", segment(id));
            api.call(Method::PUT, &path, &[], Some((*record).to_owned())).await?
        }
        _ => {
            let body = batch(all.iter().map(|(id, record)| (id.as_str(), *record)));
            api.call(Method::POST, &format!("/{collection}:batch"), &[], Some(body)).await?
        }
    };
    if !answer.status.is_success() {
        let first = all.first().map_or("", |(id, _)| id.as_str());
        let what = format!("the store refuses records of {name}, from {first} on: {}", answer.detail());
        return Err(api.ended(what));
    }
    api.has_written = true;
    Ok(all.len() as u64)
}
