//! `backup cat`: records as they were at some time, as NDJSON, or fit for `POST /{collection}:batch`; or all versions of one.

use crate::archive::{Archive, CommandError};
use crate::args::CatArgs;
use crate::progress::Progress;
use crate::walk::{Walker, restored};
use leasehold_archive::catalog::Edge;
use leasehold_archive::chain::Until;
use leasehold_archive::time::Time;
use leasehold_documents::{BATCH_OPERATIONS_MAX, Change, ChangeKind, Collection, IdRef, RecordChange};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use uuid::Uuid;

/// Prints them.
///
/// # Errors
/// The archive does not lead there; there is no such collection or record.
pub async fn run(args: CatArgs, out: impl Write + Send + 'static) -> Result<(), CommandError> {
    let archive = Archive::open(&args.source, Some(&args.keys)).await?;
    crate::archive::blocking(move || {
        let mut out = BufWriter::new(out);
        let mut progress = Progress::new();
        let printed = match &args.id {
            Some(id) if args.history => versions(&archive, &args.collection, id, &mut progress, &mut out),
            _ => records(&archive, &args, &mut progress, &mut out),
        };
        printed.and_then(|()| out.flush().map_err(print()))
    })
    .await
}

fn print() -> impl FnOnce(io::Error) -> CommandError {
    CommandError::io("cannot print")
}

fn records(
    archive: &Archive,
    args: &CatArgs,
    progress: &mut Progress,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let replay = restored(archive, args.at, progress)?;
    progress.summary();
    let edge = Edge { seq: replay.position(), time: Time::from_ms(replay.time_ms()) };
    let name = &args.collection;
    let collection = replay.documents().collection(name).ok_or_else(|| {
        let all: Vec<&str> = replay.documents().collections().map(|(name, _)| name).collect();
        let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
        let more = leads(archive).filter(|to| to.seq > edge.seq);
        let more = more.map_or(String::new(), |to| format!("; the archive leads up to {to}"));
        CommandError::Said(format!("there was no collection {name} at {edge}; there were: {all}{more}"))
    })?;
    let chosen: Vec<(String, &str)> = match &args.id {
        Some(id) => {
            let record = id_in(collection, id).and_then(|id| collection.get(id)).ok_or_else(|| {
                let what = format!("{name} had no record {id} at {edge}; --history prints all its versions");
                CommandError::Said(what)
            })?;
            vec![(id.clone(), record.as_str())]
        }
        None => collection
            .after(0)
            .map(|(_, record)| (collection.id_of(record).map(|id| id.to_string()).unwrap_or_default(), record.as_str()))
            .collect(),
    };
    if !args.batch {
        return chosen.iter().try_for_each(|(_, record)| writeln!(out, "{record}")).map_err(print());
    }
    if chosen.len() > BATCH_OPERATIONS_MAX {
        let what = format!(
            "{name} had {} records at {edge}, and a batch has at most {BATCH_OPERATIONS_MAX} operations; name one with --id, \
             or use backup restore --into",
            chosen.len()
        );
        return Err(CommandError::Said(what));
    }
    writeln!(out, "{}", batch(chosen.iter().map(|(id, record)| (id.as_str(), *record)))).map_err(print())
}

/// The body of `POST /{collection}:batch` that puts these records.
pub(crate) fn batch<'a>(records: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let operations: Vec<String> =
        records.map(|(id, record)| format!(r#"{{"op":"put","id":{},"record":{record}}}"#, json!(id))).collect();
    format!(r#"{{"operations":[{}]}}"#, operations.join(","))
}

/// The end of what the archive leads to.
fn leads(archive: &Archive) -> Option<Edge> {
    archive.catalog.ranges().last().map(|range| range.to)
}

fn id_in<'a>(collection: &Collection, id: &'a str) -> Option<IdRef<'a>> {
    collection.definition().id.parse(id)
}

/// Each version that the archive has: `{"sequence", "time", "change", "record"}`. What was before a full, or inside a gap, shows
/// as `found`.
fn versions(
    archive: &Archive,
    name: &str,
    id: &str,
    progress: &mut Progress,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let mut lines: Vec<String> = Vec::new();
    let mut last: Option<Box<str>> = None;
    // A UUID may be written in upper case.
    let lower = Uuid::try_parse(id).map(|id| id.to_string()).unwrap_or_default();
    // All that there ever were.
    let mut collections: BTreeSet<String> = BTreeSet::new();
    let is_meant = |of: &str| of == id || of == lower;
    for range in archive.catalog.ranges() {
        let until = |edge: Edge| Until { seq: edge.seq, time: None };
        let mut walker = Walker::new(archive, until(range.from));
        let Some(replay) = walker.go(progress, &mut |_, _| ())? else { continue };
        collections.extend(replay.documents().collections().map(|(name, _)| name.to_owned()));
        let collection = replay.documents().collection(name);
        let found = collection.and_then(|collection| id_in(collection, id).and_then(|id| collection.get(id)));
        let found: Option<Box<str>> = found.map(|record| record.as_str().into());
        if found != last {
            let change = if found.is_some() { "found" } else { "gone" };
            lines.push(version(range.from, change, found.as_deref()));
        }
        last = found;
        // The way may turn back where a file is damaged.
        let mut upto = range.from.seq;
        let mut seen = |mark: &leasehold_archive::changes::Mark, changes: &[Change]| {
            if mark.seq <= upto {
                return;
            }
            upto = mark.seq;
            for change in changes {
                let edge = Edge { seq: mark.seq, time: mark.time };
                match change {
                    Change::Record(RecordChange { collection, id: of, kind, record, .. })
                        if **collection == *name && is_meant(&of.to_string()) =>
                    {
                        let word = match kind {
                            ChangeKind::Created => "created",
                            ChangeKind::Replaced => "replaced",
                            ChangeKind::Deleted => "deleted",
                            ChangeKind::Expired => "expired",
                        };
                        last = record.as_ref().map(|record| record.as_str().into());
                        lines.push(version(edge, word, last.as_deref()));
                    }
                    Change::Definition { collection, definition: None, .. } if **collection == *name => {
                        if last.take().is_some() {
                            lines.push(version(edge, "dropped", None));
                        }
                    }
                    Change::Definition { collection, definition: Some(_), .. } => {
                        collections.insert(collection.to_string());
                    }
                    Change::Record(_) | Change::Definition { .. } => {}
                }
            }
        };
        walker.extend(until(range.to));
        if walker.go(progress, &mut seen)?.is_none() {
            let gap = walker.gap(leasehold_archive::point::Point::Seq(range.to.seq));
            progress.say(&gap);
        }
    }
    progress.summary();
    if lines.is_empty() {
        let up_to = leads(archive).map_or(String::new(), |to| format!(", which leads up to {to},"));
        let what = if collections.contains(name) {
            format!("the archive{up_to} has no version of the record {id} of {name}")
        } else {
            let all = if collections.is_empty() {
                "none".to_owned()
            } else {
                collections.into_iter().collect::<Vec<_>>().join(", ")
            };
            format!("the archive{up_to} never had a collection {name}; it had: {all}")
        };
        return Err(CommandError::Said(what));
    }
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(print())
}

fn version(edge: Edge, change: &str, record: Option<&str>) -> String {
    let record = record.and_then(|record| serde_json::from_str::<&RawValue>(record).ok());
    let record = record.map_or("null", RawValue::get);
    format!(r#"{{"sequence":{},"time":{},"change":"{change}","record":{record}}}"#, edge.seq, json!(edge.time))
}
