//! An app with a loop of its own: its work blocks a thread, and it is unfit to lead while it cannot work.
//!
//! ```text
//!   leadership ─▶ a thread: is_valid? ─▶ a piece ─▶ is_valid? ─▶ … ─▶ lost, failed, or to stop ─▶ release ─▶ leadership …
//! ```
//!
//! ```text
//!   cargo run -p leasehold-sidecar --example own_loop -- worker-0 127.0.0.1:9000
//! ```
//!
//! A future can be dropped, but a thread cannot: it asks the claim before each piece. A piece must end before another
//! process can lead, so give it a time limit below a third of the Lease's duration, and below `Claim::remaining`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use leasehold_sidecar::{Claim, Client, Config, Elector, connect, terminated};
use tokio_util::sync::CancellationToken;

/// Why a piece of work failed.
pub(crate) type Failure = String;

/// Takes part in the election until `stop`, and calls `piece` again and again, with the term, while this process leads. After
/// a failure another process leads, if there is a fit one; this one is fit again after `pause`.
pub(crate) async fn lead(
    config: Config,
    client: Client,
    pause: Duration,
    stop: CancellationToken,
    piece: impl Fn(u64) -> Result<(), Failure> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let elector = Elector::start(config, client).await?;
    let handle = elector.handle();
    let piece = Arc::new(piece);
    // Its end is always waited for: an elector that ended by a fault must end the app, or nobody would lead.
    let mut ended = pin!(elector.ended());
    loop {
        let claim = tokio::select! {
            ended = &mut ended => return ended.context("the elector ended"),
            () = stop.cancelled() => break,
            claim = handle.leadership() => match claim {
                Some(claim) => claim,
                None => break,
            },
        };
        let working = {
            let (claim, stop, piece) = (claim.clone(), stop.clone(), Arc::clone(&piece));
            tokio::task::spawn_blocking(move || work(&claim, &stop, &*piece))
        };
        // The thread has ended: only now it is true that all work in this term has.
        let outcome = working.await.context("a piece of work panicked")?;
        if let Err(failure) = &outcome {
            handle.set_unfit(failure.as_str());
        }
        if outcome.is_err() || stop.is_cancelled() {
            claim.release().await;
        }
        if outcome.is_err() {
            tokio::select! {
                () = tokio::time::sleep(pause) => handle.set_fit(),
                () = stop.cancelled() => {}
            }
        }
    }
    handle.stop();
    ended.await.context("the elector ended")
}

/// Works until the claim is lost, or the app ends.
fn work(claim: &Claim, stop: &CancellationToken, piece: impl Fn(u64) -> Result<(), Failure>) -> Result<(), Failure> {
    while claim.is_valid() && !stop.is_cancelled() {
        piece(claim.term())?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().context("the first argument is the name of this process")?;
    let address = args.next().context("the second argument is its address")?;
    let config = Config::plain("default", "own-loop", &name, &address)?;
    let client = connect(&config).await?;
    let stop = CancellationToken::new();
    let signalled = terminated()?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        signalled.await;
        stopping.cancel();
    });
    lead(config, client, Duration::from_secs(30), stop, |term| {
        println!("working in term {term}");
        std::thread::sleep(Duration::from_secs(1));
        Ok(())
    })
    .await
}
