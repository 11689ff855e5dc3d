//! An app that embeds the elector: it does its work only while it leads.
//!
//! ```text
//!   cargo run -p leasehold-sidecar --example embedded -- worker-0 127.0.0.1:9000     # in one terminal
//!   cargo run -p leasehold-sidecar --example embedded -- worker-1 127.0.0.1:9001     # in another; then stop the first
//! ```
//!
//! It uses the kubeconfig of the user (`KUBECONFIG`), namespace `default` and the Lease `embedded`, and needs the rights
//! to create, get, list, watch and update that Lease. No files and no HTTP: an embedded elector is asked, not read.
//!
//! What such an app must know: the Lease tells who *should* work. Two processes may believe it for an instant, when one
//! of them was frozen between its question and its work. If that would do harm, give each piece of work the term, and
//! refuse a lower one where the work arrives.

use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use leasehold_sidecar::{Config, Elector, connect};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Takes part in the election until `stop`, and calls `work` with the term, about every `pause`, while this process leads.
pub(crate) async fn lead(
    config: Config,
    client: Client,
    pause: Duration,
    stop: CancellationToken,
    mut work: impl FnMut(u64),
) -> anyhow::Result<()> {
    let elector = Elector::start(config, client).await?;
    let mut state = elector.state();
    let stopper = elector.stopper();
    // Its end is always waited for: an elector that ended by a fault must end the app, or nobody would lead.
    let mut ended = std::pin::pin!(elector.ended());
    let mut next = Instant::now();
    loop {
        tokio::select! {
            ended = &mut ended => return ended.context("the elector ended"),
            // Hands the Lease on; `ended` says when that is done. Until then this process may still lead.
            () = stop.cancelled(), if !stopper.is_cancelled() => stopper.cancel(),
            changed = state.changed() => if changed.is_ok() {
                let state = state.borrow_and_update();
                println!("{} is {}, the leader is {}", state.name, state.role_word(), state.leader().unwrap_or("nobody"));
            },
            () = tokio::time::sleep_until(next) => {
                next = Instant::now() + pause;
                // Asked anew for each piece of work: it fails closed when the claim was not renewed in time.
                let term = {
                    let state = state.borrow();
                    state.role.as_ref().filter(|_| state.leads() && !stop.is_cancelled()).map(|role| role.term)
                };
                if let Some(term) = term {
                    work(term);
                }
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().context("the first argument is the name of this process")?;
    let address = args.next().context("the second argument is its address")?;
    let config = Config::plain("default", "embedded", &name, &address)?;
    let client = connect(&config).await?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopped.cancel();
        }
    });
    lead(config, client, Duration::from_secs(1), stop, |term| println!("working in term {term}")).await
}
