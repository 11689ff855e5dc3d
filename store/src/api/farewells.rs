//! When clients on HTTP/2 should send new requests on another connection.
//!
//! Their connection may last for days, and it may date from when the Service named another leader. HTTP/1 clients learn it
//! from their next answer: see [`crate::api::forward`].

use tokio_util::sync::CancellationToken;

use crate::handle::Handle;
use leasehold_daemon::serve::Farewell;

/// Says farewell whenever this replica stops leading, and when it receives a signal to end. It runs forever.
pub async fn say(handle: Handle, farewell: Farewell, stop: CancellationToken) {
    let (mut news, mut led, mut ends) = (handle.news(), handle.leads(), false);
    loop {
        tokio::select! {
            () = news.next() => {}
            () = stop.cancelled(), if !ends => {
                ends = true;
                farewell.say();
            }
        }
        news.heard();
        let leads = handle.leads();
        if led && !leads {
            farewell.say();
        }
        led = leads;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::api::tests::status;
    use leasehold_replication::{Incarnation, Phase, ReplicaId};
    use std::time::Duration;
    use uuid::Uuid;

    #[tokio::test]
    async fn who_ceases_to_lead_says_so_once_and_so_does_who_is_told_to_end() {
        let (handle, server) = crate::handle::handle("pod-0", Incarnation(Uuid::from_u128(7)));
        let set = |phase, leader| server.set_status(ReplicaId(Uuid::from_u128(1)), status(phase, leader));
        let (farewell, stop) = (Farewell::default(), CancellationToken::new());
        let mut leaving = farewell.leaving();
        let task = tokio::spawn(say(handle, farewell, stop.clone()));
        let mut is_said = async |within: Duration| tokio::time::timeout(within, leaving.said()).await.is_ok();
        let (long, short) = (Duration::from_secs(10), Duration::from_millis(50));
        set(Phase::Follower, "pod-1");
        set(Phase::Leading, "pod-0");
        assert!(!is_said(short).await, "it became the leader");
        set(Phase::Follower, "pod-1");
        assert!(is_said(long).await, "it ceased to lead");
        set(Phase::Follower, "pod-2");
        assert!(!is_said(short).await, "another one leads now");
        stop.cancel();
        assert!(is_said(long).await, "it is told to end");
        task.abort();
    }
}
