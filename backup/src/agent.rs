//! `backup agent`: archives every change of a cluster, until it is stopped.
//!
//! ```text
//!   source (watch, snapshot) ──▶ driver ◀──▶ Agent (pure: leasehold_archive::agent)
//!                                  │  └──▶ spool ──▶ bucket
//!                                  └─────▶ full  ──▶ bucket, and back
//! ```
//!
//! All decisions are the pure agent's; here is what it decides about: connections, files, objects, metrics.

mod calls;
mod driver;
mod full;
mod http;
mod listening;
mod retention;
mod words;

use crate::args::AgentArgs;
use crate::bucket::Bucket;
use crate::metrics::Metrics;
use crate::sealed::Recipients;
use crate::source::Source;
use crate::spool::Spool;
use driver::Driver;
use full::Taker;
use http::Shown;
use leasehold_archive::agent::{Agent, Config, Status};
use leasehold_daemon::logs::in_words;
use retention::Retention;
use std::error::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// A file of changes is closed at this length, before compression.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Runs the agent until `stop`. Returns when what it has is uploaded, or a few seconds later: the spool keeps the rest.
///
/// # Errors
/// Flags or the environment are unusable, the port is taken, or the spool cannot be opened. Whatever fails later is retried.
pub async fn run(args: &AgentArgs, stop: CancellationToken) -> Result<(), Box<dyn Error + Send + Sync>> {
    let bucket = Bucket::open(&args.place)?;
    let metrics = Metrics::new();
    let listener = leasehold_daemon::serve::bind(args.listen)
        .map_err(|error| format!("--listen {}: {}", args.listen, in_words(&error)))?;
    run_on(args, bucket, metrics, listener, stop).await
}

/// The same, with a bucket and a port that are open.
///
/// # Errors
/// As there.
pub async fn run_on(
    args: &AgentArgs,
    bucket: Bucket,
    metrics: Metrics,
    listener: tokio::net::TcpListener,
    stop: CancellationToken,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let recipients = Recipients::read(&args.recipient, args.recipients_file.as_deref())?;
    let source = Source::new(&args.store, args.store_token_file.clone(), args.store_ca.clone())?;
    let (spool, left) = Spool::open(&args.spool, recipients.clone())?;
    info!(url = bucket.url(), stores = ?args.store, encrypted = !recipients.is_empty(), left = left.files.len(), "starting");
    let config = Config {
        full_every: args.full_every,
        changes_every: args.changes_every,
        file_bytes_max: FILE_BYTES_MAX,
        spool_bytes_max: args.spool_max,
        encrypted: !recipients.is_empty(),
        prune: !args.no_prune,
    };
    let (shown, show) = watch::channel(Shown { status: Status::default(), turned: Instant::now() });
    let taker = Taker { source: source.clone(), bucket: bucket.clone(), recipients, path: spool.full() };
    let retention =
        Retention { point_in_time: args.keep_point_in_time, fulls: args.keep_fulls, full_every: args.full_every };
    let agent = Agent::new(config);
    let driver = Driver { agent, source, bucket, spool, taker, retention, metrics: metrics.clone(), shown };
    tokio::select! {
        () = driver.run(left, stop) => {}
        () = http::serve(listener, show, metrics) => return Err("the port of the metrics ended".into()),
    }
    info!("ended");
    Ok(())
}
