//! `backup list`: what can be restored, by the names alone. Reads no object.

use crate::archive::{self, CommandError};
use crate::args::ListArgs;
use crate::bucket::Bucket;
use crate::progress::count;
use indicatif::HumanBytes;
use leasehold_archive::catalog::{Catalog, Edge};
use leasehold_replication::ClusterId;
use serde_json::{Value, json};
use std::io::Write;

/// Prints it.
///
/// # Errors
/// The bucket; the output; the cluster that was named is not there.
pub async fn run(args: &ListArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let bucket = Bucket::open(&args.source.place)?;
    let clusters = match args.source.cluster_id {
        Some(cluster) => vec![ClusterId(cluster)],
        None => bucket.clusters().await?,
    };
    let mut found = Vec::new();
    for cluster in clusters {
        let catalog = archive::catalog(&bucket, cluster).await?;
        if !catalog.is_empty() {
            found.push((cluster, catalog));
        } else if args.source.cluster_id.is_some() {
            return Err(archive::no_cluster(&bucket, cluster, catalog.strangers()).await);
        }
    }
    let text = match &found[..] {
        _ if args.json => as_json(&found),
        [] => {
            let why = archive::misplaced(&bucket).await?.map_or(String::new(), |why| format!(": {why}"));
            format!("{} has no archive{why}\n", bucket.url())
        }
        _ => as_text(&found),
    };
    out.write_all(text.as_bytes()).map_err(CommandError::io("cannot print"))
}

fn as_text(found: &[(ClusterId, Catalog)]) -> String {
    found.iter().map(|(cluster, catalog)| one(*cluster, catalog)).collect::<Vec<_>>().join("\n")
}

fn one(cluster: ClusterId, catalog: &Catalog) -> String {
    let fulls = catalog.fulls();
    let verified = fulls.iter().filter(|full| full.verified).count();
    let files = count(catalog.files().len() as u64, "file");
    let fulls = format!("{} ({verified} verified)", count(fulls.len() as u64, "full"));
    let mut text = format!("cluster {}: {fulls}, {files} of changes, {}\n", cluster.0, HumanBytes(catalog.bytes()));
    let ranges = catalog.ranges();
    if ranges.is_empty() {
        text += "  nothing can be restored: there is no full\n";
    }
    for (at, range) in ranges.iter().enumerate() {
        if at > 0 {
            text += "  gap\n";
        }
        if range.from == range.to {
            text += &format!("  {}\n", range.from);
        } else {
            text += &format!("  any point from {} to {}\n", range.from, range.to);
        }
    }
    for (first, last) in catalog.unreachable() {
        let before = ranges.iter().rfind(|range| range.to.seq < first);
        let why = before.map_or("no full is before them".to_owned(), |range| {
            format!("what follows entry {} is missing", range.to.seq)
        });
        text += &format!("  entries {first}-{} cannot be reached: {why}\n", last.seq);
    }
    match catalog.newest_verified() {
        Some(full) => text += &format!("  newest verified full: {}\n", full.edge),
        None => text += "  no full is verified\n",
    }
    if catalog.strangers() > 0 {
        text += &format!("  {} of other names, left alone\n", count(catalog.strangers(), "object"));
    }
    text
}

fn as_json(found: &[(ClusterId, Catalog)]) -> String {
    let edge = |edge: Edge| json!({ "sequence": edge.seq, "time": edge.time });
    let one = |(cluster, catalog): &(ClusterId, Catalog)| {
        let ranges = catalog.ranges();
        let ranges: Vec<Value> =
            ranges.iter().map(|range| json!({ "from": edge(range.from), "to": edge(range.to) })).collect();
        let unreachable = catalog.unreachable();
        let unreachable: Vec<Value> = unreachable
            .iter()
            .map(|(first, last)| json!({ "from": { "sequence": first }, "to": edge(*last) }))
            .collect();
        let fulls: Vec<Value> = catalog
            .fulls()
            .iter()
            .map(|full| {
                json!({
                    "sequence": full.edge.seq, "time": full.edge.time, "verified": full.verified,
                    "encrypted": full.encrypted, "bytes": full.bytes,
                })
            })
            .collect();
        json!({
            "clusterId": cluster.0, "ranges": ranges, "unreachable": unreachable, "fulls": fulls, "files": catalog.files().len(),
            "bytes": catalog.bytes(), "strangers": catalog.strangers(),
        })
    };
    let clusters: Vec<Value> = found.iter().map(one).collect();
    format!("{:#}\n", json!({ "clusters": clusters }))
}
