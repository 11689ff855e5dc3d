//! An app that embeds the elector in ten lines: it does its work only while it leads.
//!
//! ```text
//!   cargo run -p leasehold-sidecar --example embedded -- worker-0 127.0.0.1:9000     # in one terminal
//!   cargo run -p leasehold-sidecar --example embedded -- worker-1 127.0.0.1:9001     # in another; then stop the first
//! ```
//!
//! It uses the kubeconfig of the user (`KUBECONFIG`), namespace `default` and the Lease `embedded`. The rights that it needs,
//! and what is promised: docs/library.md. No files and no HTTP: an embedded elector is asked, not read.
//!
//! What such an app must know: a request that was sent under an earlier claim may arrive late. If that would do harm, give
//! each piece of work the term, and refuse a lower one where the work arrives.

use std::time::Duration;

use anyhow::Context as _;
use leasehold_sidecar::{Client, Config, Elector, connect, terminated};

/// Takes part in the election until `stop`, and calls `work` with the term, about every `pause`, while this process leads.
pub(crate) async fn lead(
    config: Config,
    client: Client,
    pause: Duration,
    stop: impl Future<Output = ()>,
    work: impl Fn(u64),
) -> anyhow::Result<()> {
    let elector = Elector::start(config, client).await?;
    let work = &work;
    // The loop ends by being dropped, at its next `.await`: when the claim is lost, and on `stop`.
    let working = |term| async move {
        loop {
            work(term);
            tokio::time::sleep(pause).await;
        }
    };
    elector.lead(stop, |claim| working(claim.term())).await.context("the elector ended")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().context("the first argument is the name of this process")?;
    let address = args.next().context("the second argument is its address")?;
    let config = Config::plain("default", "embedded", &name, &address)?;
    let client = connect(&config).await?;
    lead(config, client, Duration::from_secs(1), terminated()?, |term| println!("working in term {term}")).await
}
