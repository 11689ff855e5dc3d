//! `backup drill`: a restore into memory, with everything checked, as practice and as a measurement.

use crate::archive::{Archive, CommandError};
use crate::args::DrillArgs;
use crate::progress::{Progress, count};
use crate::walk::restored;
use leasehold_archive::catalog::Edge;
use leasehold_archive::time::Time;
use std::io::Write;
use std::time::Instant;

/// Does it, and prints one line.
///
/// # Errors
/// Anything that a restore would fail at.
pub async fn run(args: DrillArgs, out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
    let archive = Archive::open_newest(&args.source, Some(&args.keys)).await?;
    let line = crate::archive::blocking(move || {
        let mut progress = Progress::new();
        let replay = restored(&archive, args.at, &mut progress)?;
        let edge = Edge { seq: replay.position(), time: Time::from_ms(replay.time_ms()) };
        let (read, built) = (progress.summary(), Instant::now());
        let documents = replay.into_restored().map_err(|error| CommandError::Said(format!("{edge}: {error}")))?;
        let wrong = |error| CommandError::Said(format!("{edge}: {error}"));
        documents.check_sum().map_err(wrong)?;
        let records: usize = documents.collections().map(|(_, collection)| collection.len()).sum();
        let collections = count(documents.collections().count() as u64, "collection");
        Ok(format!(
            "restored {} in {collections} at {edge} of cluster {}: read {read}; built in {:.1} s; all hashes agree\n",
            count(records as u64, "record"),
            archive.cluster.0,
            built.elapsed().as_secs_f64()
        ))
    })
    .await?;
    out.write_all(line.as_bytes()).map_err(CommandError::io("cannot print"))
}
