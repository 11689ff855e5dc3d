//! Reaches another pod's peer port: its IPs and its DNS name race, and the first that shows that it is that pod wins.
//!
//! ```text
//!   newest IP ──50 ms──▶ next IP ──50 ms──▶ the DNS name ──its IPs──▶ …        an attempt that fails starts the next at once
//!        └───────────────────┴── the first attempt that succeeds ends all others; the error comes when all have failed
//! ```
//!
//! DNS is only the fallback: its caches name pods that are gone for half a minute, and it may be down. An IP may belong to
//! another pod by now, so an attempt counts only when the other end has shown who it is: by the handshake if there
//! is a key, by the name in its answer if there is none.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, Shared};
use futures_util::stream::{FuturesUnordered, StreamExt};
use leasehold_replication::Target;

/// The pause between two attempts while none has ended.
const START_PAUSE: Duration = Duration::from_millis(50);
/// No pod has more addresses than this.
const ADDRESSES_MAX: usize = 8;

/// Looks up names: one question at a time for each name, for all callers. A name server that does not answer holds a thread
/// for half a minute, and many callers must not hold many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<Mutex<HashMap<String, Lookup>>>);

type Lookup = Shared<BoxFuture<'static, Result<Vec<SocketAddr>, Arc<io::Error>>>>;

impl Names {
    async fn resolve(self, address: String) -> io::Result<Vec<SocketAddr>> {
        let lookup = {
            let mut lookups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match lookups.entry(address) {
                Entry::Occupied(lookup) => lookup.get().clone(),
                Entry::Vacant(vacant) => {
                    let (names, address) = (self.clone(), vacant.key().clone());
                    // A task of its own: it ends, and makes room for the next one, even if its callers have given up.
                    let task = tokio::spawn(async move {
                        let found = tokio::net::lookup_host(&address).await.map(Iterator::collect).map_err(Arc::new);
                        names.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
                        found
                    });
                    let ended =
                        |ended: Result<_, _>| ended.unwrap_or_else(|error| Err(Arc::new(io::Error::other(error))));
                    vacant.insert(task.map(ended).boxed().shared()).clone()
                }
            }
        };
        lookup.await.map_err(|error| io::Error::new(error.kind(), error))
    }
}

enum Step<T, E> {
    Attempted(Result<T, E>),
    Resolved(io::Result<Vec<SocketAddr>>),
}

/// The first success of `attempt` at the addresses of `to`; otherwise each one's failure. It has no time limit: an address
/// that says nothing is not one that refuses.
pub(crate) async fn reach<T, E, F>(to: &Target, names: &Names, attempt: impl Fn(SocketAddr) -> F) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>> + Send,
    T: Send,
    E: From<io::Error> + Send,
{
    let port = to.peer_address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let sockets = to.addresses.iter().filter_map(|ip| Some(SocketAddr::new(*ip, port?)));
    let mut waiting: VecDeque<Option<SocketAddr>> = sockets.take(ADDRESSES_MAX).map(Some).collect();
    waiting.push_back(None); // the name
    let (mut tried, mut errors) = (Vec::new(), Vec::new());
    let mut running: FuturesUnordered<BoxFuture<'_, Step<T, E>>> = FuturesUnordered::new();
    loop {
        match waiting.pop_front() {
            Some(Some(socket)) if tried.contains(&socket) => continue,
            Some(Some(socket)) => {
                tried.push(socket);
                running.push(attempt(socket).map(Step::Attempted).boxed());
            }
            Some(None) => running.push(names.clone().resolve(to.peer_address.clone()).map(Step::Resolved).boxed()),
            None if running.is_empty() => return Err(errors),
            None => {}
        }
        tokio::select! {
            Some(step) = running.next() => match step {
                Step::Attempted(Ok(reached)) => return Ok(reached),
                Step::Attempted(Err(error)) => errors.push(error),
                Step::Resolved(Ok(found)) => waiting.extend(found.into_iter().take(ADDRESSES_MAX).map(Some)),
                Step::Resolved(Err(error)) => errors.push(E::from(error)),
            },
            () = tokio::time::sleep(START_PAUSE), if !waiting.is_empty() => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::time::Instant;

    fn to(addresses: &[&str], peer_address: &str) -> Target {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Target { name: "db-1".into(), peer_address: peer_address.into(), addresses }
    }

    /// What each address does, by its last number: 1 answers at once, 2 refuses at once, 3 says nothing.
    async fn outcome(to: &Target) -> (Result<SocketAddr, Vec<String>>, Vec<(SocketAddr, Duration)>) {
        let (began, seen) = (Instant::now(), Mutex::new(Vec::new()));
        let attempt = |socket: SocketAddr| {
            seen.lock().unwrap().push((socket, began.elapsed()));
            async move {
                match socket.ip().to_string().chars().last() {
                    Some('1') => Ok(socket),
                    Some('2') => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                    _ => std::future::pending().await,
                }
            }
        };
        let reached = reach(to, &Names::default(), attempt).await;
        let errors = |errors: Vec<io::Error>| errors.iter().map(io::Error::to_string).collect();
        (reached.map_err(errors), seen.into_inner().unwrap())
    }

    #[tokio::test]
    async fn the_newest_address_is_tried_first_and_dns_is_not_asked_where_it_answers() {
        let (reached, seen) = outcome(&to(&["10.0.0.1", "10.0.1.1"], "10.0.2.1:8090")).await;
        assert_eq!(reached.unwrap(), "10.0.0.1:8090".parse().unwrap());
        assert_eq!(seen.len(), 1);
    }

    #[tokio::test]
    async fn one_that_says_nothing_delays_the_next_by_the_pause_and_one_that_refuses_by_nothing() {
        let (reached, seen) = outcome(&to(&["10.0.0.3", "10.0.0.2", "fd00::1"], "nowhere.invalid:8090")).await;
        assert_eq!(reached.unwrap(), "[fd00::1]:8090".parse().unwrap());
        let [first, second, third] = seen[..] else { panic!("{seen:?}") };
        assert!(second.1 - first.1 >= START_PAUSE, "{seen:?}");
        // At once, even on a busy machine.
        assert!(third.1 - second.1 < START_PAUSE, "{seen:?}");
    }

    #[tokio::test]
    async fn the_name_is_the_last_resort_and_its_address_is_not_tried_twice() {
        let (reached, seen) = outcome(&to(&["10.0.0.2"], "10.0.0.2:8090")).await;
        assert_eq!((reached.unwrap_err().len(), seen.len()), (1, 1));
        let (reached, _) = outcome(&to(&["10.0.0.3"], "10.0.0.1:8090")).await;
        assert_eq!(reached.unwrap(), "10.0.0.1:8090".parse().unwrap());
    }

    #[tokio::test]
    async fn it_is_refused_only_when_every_address_refused() {
        let (reached, _) = outcome(&to(&["10.0.0.2"], "10.0.1.2:8090")).await;
        assert_eq!(reached.unwrap_err().len(), 2);
        let silent = to(&["10.0.0.2"], "10.0.1.3:8090");
        let hangs = tokio::time::timeout(START_PAUSE * 6, outcome(&silent)).await;
        assert!(hangs.is_err(), "an address that says nothing has not refused");
    }
}
