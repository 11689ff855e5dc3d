//! Observes one named object of the API: a list, then a watch from its version, forever.
//!
//! ```text
//!   list ──Listed──▶ watch ──Changed, Deleted …──▶ ended in good order: watch again from the last version
//!    ▲ │ Failed        │ Failed      │ Lost: cut, too old, or somebody asked to begin again
//!    └─┴──back-off─────┴─────────────┘
//! ```
//!
//! This is not kube's `watcher`, because an election must know what that one hides: that the API server answered, that it
//! did not, and that the watch was cut.

use std::fmt::Debug;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::debug;

use crate::kube::request::{Backoff, RequestError, Requester, Right};

/// The API server ends a watch by itself after this time; one that reports nothing for longer has lost its connection.
const WATCH_SECONDS: u32 = 290;
const WATCH_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// What was seen of the object.
#[derive(Debug)]
pub(crate) enum Observed<K> {
    /// The list: this is the object now, or there is none as of that version. A watch follows.
    Listed(Option<K>, Option<String>),
    /// It was created or changed.
    Changed(K),
    /// It was deleted; its last state, at the version of the deletion.
    Deleted(K),
    /// The watch was cut. Changes are not reported until the next [`Observed::Listed`].
    Lost,
    /// The list, or the watch after it, failed. As [`Observed::Lost`].
    Failed,
}

/// Which object to observe, and how.
pub(crate) struct Observer<K> {
    pub(crate) requester: Requester,
    pub(crate) api: Api<K>,
    pub(crate) name: String,
    /// `leases.coordination.k8s.io`
    pub(crate) resource: &'static str,
    /// The waits between attempts.
    pub(crate) backoff: Backoff,
    /// A change asks to start over: another task found that the connection is dead.
    pub(crate) restart: watch::Receiver<u64>,
}

/// Why a watch ended.
enum Left {
    /// The API server ended it in good order: resume at this version.
    Ended(String),
    /// List again, at once.
    Stale,
    /// List again, after a while.
    Broken,
}

impl<K> Observer<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Observes until the receiver is dropped. A full channel makes it wait; nothing is dropped.
    pub(crate) async fn run(mut self, sender: mpsc::Sender<Observed<K>>) {
        while !sender.is_closed() {
            self.restart.mark_unchanged();
            let observed = match self.list().await {
                Ok((object, version)) => {
                    let from = version.clone().unwrap_or_else(|| "0".to_owned());
                    // The loop ends if nobody listens.
                    let _ = sender.send(Observed::Listed(object, version)).await;
                    match self.watch_from(from, &sender).await {
                        Ok(Left::Stale) => {
                            let _ = sender.send(Observed::Lost).await;
                            continue;
                        }
                        Ok(Left::Ended(_) | Left::Broken) => Observed::Lost,
                        Err(_) => Observed::Failed,
                    }
                }
                Err(_) => Observed::Failed,
            };
            let _ = sender.send(observed).await;
            self.backoff.wait().await;
        }
    }

    async fn list(&self) -> Result<(Option<K>, Option<String>), RequestError> {
        let params = ListParams::default().fields(&format!("metadata.name={}", self.name));
        let list = self.requester.call(Right::new("list", self.resource), self.api.list(&params)).await?;
        let object = list.items.into_iter().find(|item| item.meta().name.as_deref() == Some(&self.name));
        let version = list.metadata.resource_version.filter(|version| !version.is_empty());
        Ok((object, version))
    }

    /// Watches, again and again, until there is a reason to list again. The error comes from opening it.
    async fn watch_from(
        &mut self,
        mut version: String,
        sender: &mpsc::Sender<Observed<K>>,
    ) -> Result<Left, RequestError> {
        loop {
            let params = WatchParams::default().fields(&format!("metadata.name={}", self.name)).timeout(WATCH_SECONDS);
            let right = Right::new("watch", self.resource);
            let stream = match self.requester.call(right, self.api.watch(&params, &version)).await {
                Ok(stream) => stream,
                Err(RequestError::Gone) => return Ok(Left::Stale),
                Err(error) => return Err(error),
            };
            let began = Instant::now();
            match self.follow(pin!(stream), version, sender).await {
                Left::Ended(last) => version = last,
                left => return Ok(left),
            }
            // A server that ends every watch at once must not be asked without a pause.
            if began.elapsed() < Duration::from_secs(1) {
                self.backoff.wait().await;
            } else {
                self.backoff.reset();
            }
        }
    }

    async fn follow(
        &mut self,
        mut stream: Pin<&mut impl Stream<Item = kube::Result<WatchEvent<K>>>>,
        mut version: String,
        sender: &mpsc::Sender<Observed<K>>,
    ) -> Left {
        loop {
            let next = tokio::select! {
                next = tokio::time::timeout(WATCH_SILENCE, stream.next()) => next,
                changed = self.restart.changed() => match changed {
                    Ok(()) => return Left::Stale,
                    // Nobody can ask any longer: the sidecar ends.
                    Err(_) => return Left::Broken,
                },
            };
            let event = match next {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return self.broken(&error.into()),
                Ok(None) => return Left::Ended(version),
                Err(_) => return Left::Stale,
            };
            let observed = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version = object.resource_version().unwrap_or(version);
                    Observed::Changed(object)
                }
                WatchEvent::Deleted(object) => {
                    version = object.resource_version().unwrap_or(version);
                    Observed::Deleted(object)
                }
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => {
                    return match RequestError::from_status(&status) {
                        RequestError::Gone => Left::Stale,
                        error => self.broken(&error),
                    };
                }
            };
            self.backoff.reset();
            self.requester.shown(self.resource);
            if sender.send(observed).await.is_err() {
                return Left::Broken;
            }
        }
    }

    fn broken(&self, error: &RequestError) -> Left {
        self.requester.note(Right::new("watch", self.resource), error);
        debug!(name = self.name, resource = self.resource, %error, "the watch was cut");
        Left::Broken
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::args::Config;
    use crate::kube::request::LEASES;
    use crate::telemetry::Metrics;
    use k8s_openapi::api::coordination::v1::Lease;
    use leasehold_api::{ApiServer, Faults, Kind, Verb, Who};
    use serde_json::json;

    const LONG: Duration = Duration::from_secs(10);

    struct Watched {
        api: ApiServer,
        receiver: mpsc::Receiver<Observed<Lease>>,
        requester: Requester,
        restart: watch::Sender<u64>,
    }

    impl Watched {
        async fn start() -> Watched {
            let api = ApiServer::start(0).unwrap();
            let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
            let config = Config { lease_duration: Duration::from_secs(1), ..config };
            let requester = Requester::new(api.client("sidecar", "n").await.unwrap(), &config, Metrics::new());
            let (sender, receiver) = mpsc::channel(4);
            let (restart, restarted) = watch::channel(0);
            let observer = Observer {
                api: Api::namespaced(requester.client.clone(), "n"),
                requester: requester.clone(),
                name: "db".to_owned(),
                resource: LEASES,
                backoff: Backoff::new(Duration::from_millis(100)),
                restart: restarted,
            };
            tokio::spawn(observer.run(sender));
            Watched { api, receiver, requester, restart }
        }

        async fn next(&mut self) -> Observed<Lease> {
            tokio::time::timeout(LONG, self.receiver.recv()).await.expect("nothing was observed").unwrap()
        }

        fn put(&self, name: &str, holder: &str) {
            let lease = json!({"metadata": {"name": name}, "spec": {"holderIdentity": holder}});
            self.api.put(Kind::Lease, "n", &lease).unwrap();
        }

        /// Waits until that holder is seen; failures before that are acceptable.
        async fn sees(&mut self, holder: &str) {
            loop {
                match self.next().await {
                    Observed::Changed(lease) | Observed::Listed(Some(lease), _)
                        if lease.spec.as_ref().unwrap().holder_identity.as_deref() == Some(holder) =>
                    {
                        return;
                    }
                    Observed::Listed(..) | Observed::Changed(_) | Observed::Lost | Observed::Failed => {}
                    Observed::Deleted(_) => panic!("deleted"),
                }
            }
        }
    }

    #[tokio::test]
    async fn absence_changes_and_deletion_are_told_with_one_list_and_one_watch() {
        let mut watched = Watched::start().await;
        assert!(matches!(watched.next().await, Observed::Listed(None, Some(version)) if version == "1000"));
        watched.put("db", "a");
        assert!(matches!(watched.next().await, Observed::Changed(_)));
        watched.put("db", "b");
        watched.sees("b").await;
        watched.put("other", "a");
        watched.api.delete(Kind::Lease, "n", "db", &json!({})).unwrap();
        assert!(
            matches!(watched.next().await, Observed::Deleted(object) if object.resource_version().as_deref() == Some("1004"))
        );
        assert_eq!(
            (watched.api.requests(Verb::List, Kind::Lease), watched.api.requests(Verb::Watch, Kind::Lease)),
            (1, 1)
        );
    }

    #[tokio::test]
    async fn a_watch_that_the_server_ends_goes_on_without_another_list() {
        let mut watched = Watched::start().await;
        watched.next().await;
        watched.put("db", "a");
        watched.sees("a").await;
        for holder in ["b", "c"] {
            watched.api.drop_watches(&Who::All);
            watched.put("db", holder);
            watched.sees(holder).await;
        }
        assert_eq!(watched.api.requests(Verb::List, Kind::Lease), 1);
    }

    #[tokio::test]
    async fn an_outage_is_told_and_overcome() {
        let mut watched = Watched::start().await;
        watched.next().await;
        for faults in [Faults::status(503), Faults::black_hole(), Faults::status(403), Faults::status(410)] {
            watched.api.set_faults(&Who::All, faults.clone());
            watched.api.drop_watches(&Who::All);
            loop {
                match watched.next().await {
                    Observed::Failed => break,
                    Observed::Lost => {}
                    other => panic!("{faults:?}: {other:?}"),
                }
            }
            let holder = format!("{faults:?}");
            watched.put("db", &holder);
            watched.api.clear_faults();
            watched.sees(&holder).await;
        }
    }

    #[tokio::test]
    async fn a_watch_that_lost_its_connection_unseen_is_begun_again_when_asked() {
        let mut watched = Watched::start().await;
        watched.next().await;
        watched.api.set_faults(&Who::All, Faults::silent_watches());
        watched.put("db", "a");
        let silent = tokio::time::timeout(Duration::from_millis(200), watched.receiver.recv()).await;
        assert!(silent.is_err(), "{silent:?}");
        watched.restart.send_modify(|n| *n += 1);
        watched.sees("a").await;
    }

    /// A follower whose watch is open asks nothing about the Lease for minutes.
    #[tokio::test]
    async fn what_the_watch_of_the_lease_shows_ends_the_wait_of_other_requests() {
        let mut watched = Watched::start().await;
        watched.next().await;
        // So the watch is open.
        watched.put("db", "a");
        watched.sees("a").await;
        let silent = Err(kube::Error::Api(Box::new(kube::core::Status::failure("m", "r").with_code(503))));
        let late = watched.requester.call(Right::new("get", LEASES), std::future::ready::<kube::Result<()>>(silent));
        late.await.unwrap_err();
        let requester = watched.requester.clone();
        let mut waiting = Box::pin(requester.call(Right::new("list", "statefulsets.apps"), std::future::ready(Ok(()))));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
        watched.put("db", "b");
        watched.sees("b").await;
        tokio::time::timeout(LONG, waiting).await.expect("nothing else has its turn").unwrap();
    }
}
