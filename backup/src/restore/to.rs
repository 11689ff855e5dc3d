//! Prepares the first start of a new cluster: `restore.json`, in the empty volume of its first member.
//!
//! ```text
//!   the volume is of a cluster ────────────────┐
//!   role.json names a cluster ─────────────────┼──▶ nothing to do: the bucket is not asked, exit code 0
//!   this pod is not role.json's first member ──┘
//!   else: the folder has what no volume has ───▶ refused
//!   else: the archive ──▶ data of the point ──▶ restore.json.tmp, fsync, rename, fsync
//! ```
//!
//! So it may stay in a manifest for good, with credentials that are dead by then. Doing it twice does no harm: only a first
//! start reads the file.

use crate::archive::{Archive, CommandError, blocking};
use crate::args::RestoreArgs;
use crate::progress::{Progress, count};
use crate::walk::restored;
use leasehold_archive::catalog::Edge;
use leasehold_archive::time::Time;
use leasehold_contract::{ReadError, RoleFile, read_json};
use leasehold_documents::Documents;
use leasehold_documents::snapshot::{self, Head};
use leasehold_replication::{Position, Voters};
use leasehold_store::volume::cluster_of;
use leasehold_store::volume::files::{RESTORE, is_of_a_volume};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How often role.json is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn run(args: &RestoreArgs, data: &Path) -> Result<String, CommandError> {
    let folder = data.display().to_string();
    if !data.is_dir() {
        return Err(CommandError::Said(format!("there is no folder {folder}: mount the volume there")));
    }
    let cluster = cluster_of(data).map_err(|error| CommandError::Said(format!("{folder}: {error}")))?;
    if let Some(cluster) = cluster {
        let what = format!("nothing to restore: the volume at {folder} belongs to the cluster {}", cluster.0);
        // With role.json it is a pod that starts again, as it must.
        let more = if args.role.is_none() { "; to go back in time, use an empty volume, or --into" } else { "" };
        return Ok(what + more);
    }
    if let (Some(role), Some(name)) = (&args.role, &args.name)
        && let Some(why) = is_not_wanted(role, name, args.role_timeout).await?
    {
        return Ok(format!("nothing to restore: {why}"));
    }
    if let Some(strangers) = strangers(data).map_err(CommandError::io(format!("cannot read {folder}")))? {
        return Err(CommandError::Said(format!(
            "{folder} is not the volume of a store: it has {strangers}; name an empty volume, or that of a store that has \
             never started"
        )));
    }
    let archive = Archive::open(&args.source, Some(&args.keys)).await?;
    let (data, point) = (data.to_owned(), args.at);
    blocking(move || {
        let mut progress = Progress::new();
        let replay = restored(&archive, point, &mut progress)?;
        let edge = Edge { seq: replay.position(), time: Time::from_ms(replay.time_ms()) };
        let documents = replay.into_restored().map_err(|error| CommandError::Said(format!("{edge}: {error}")))?;
        let format = documents.format();
        // Of term 0, before all terms of the new cluster, and without voters: the new cluster has its own.
        let (cluster_id, position) = (archive.cluster, Position::new(0, edge.seq.0));
        let head = Head { format, cluster_id, position, voters: Voters { format, ..Voters::none() } };
        write(&data, &head, &documents)
            .map_err(CommandError::io(format!("cannot write {}", data.join(RESTORE).display())))?;
        let records: usize = documents.collections().map(|(_, collection)| collection.len()).sum();
        Ok(format!(
            "{} is ready: {} at {edge} of cluster {} (read {}); the first start of the new cluster begins with them, \
             and expiry is paused until PUT /api/expiry {{\"paused\": false}}",
            data.join(RESTORE).display(),
            count(records as u64, "record"),
            archive.cluster.0,
            progress.summary()
        ))
    })
    .await
}

/// What the folder has that no volume has: somebody named another folder.
fn strangers(data: &Path) -> io::Result<Option<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(data)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !is_of_a_volume(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let others = names.len().saturating_sub(3);
    names.truncate(3);
    let more = if others == 0 { String::new() } else { format!(" and {others} more") };
    Ok((!names.is_empty()).then(|| names.join(", ") + &more))
}

/// Why this pod does not restore, by role.json; none: it does. Waits until the sidecar has written it and knows the members.
async fn is_not_wanted(path: &Path, name: &str, patience: Duration) -> Result<Option<String>, CommandError> {
    let until = Instant::now() + patience;
    let mut said = false;
    loop {
        let missing = match read_json::<RoleFile>(path) {
            Ok(role) => {
                if let Some(cluster) = role.cluster_id {
                    return Ok(Some(format!("{} names the cluster {cluster}, which exists already", path.display())));
                }
                match role.members.first() {
                    Some(first) if first.name == name => return Ok(None),
                    Some(first) => {
                        let what =
                            format!("{name} is not the first member of the new cluster, which is {}", first.name);
                        return Ok(Some(what));
                    }
                    None => "it does not say yet which pods are wanted".to_owned(),
                }
            }
            Err(error @ ReadError::Missing { .. }) => error.to_string(),
            // A file of a later version stays one.
            Err(error @ (ReadError::Unreadable { .. } | ReadError::NewerVersion { .. })) => {
                return Err(CommandError::Said(error.to_string()));
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() >= until {
            let what = format!("waited {} s for the sidecar's {}: {missing}", patience.as_secs(), path.display());
            return Err(CommandError::Said(what + "; is the sidecar running, and is this its shared volume?"));
        }
        if !said {
            eprintln!("backup: waiting for the sidecar's {}: {missing}", path.display());
            said = true;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn write(data: &Path, head: &Head, documents: &Documents) -> io::Result<()> {
    let part = data.join(format!("{RESTORE}.tmp"));
    let written = write_part(&part, head, documents).and_then(|()| fs::rename(&part, data.join(RESTORE)));
    if written.is_err() {
        // A disk that is full is less so without it; the first error is what counts.
        let _ = fs::remove_file(&part);
    }
    written.and_then(|()| File::open(data)?.sync_all())
}

fn write_part(part: &Path, head: &Head, documents: &Documents) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(256 * 1024, File::create(part)?);
    snapshot::write(&mut out, head, documents)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}
