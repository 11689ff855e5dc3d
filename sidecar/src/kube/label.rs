//! The pod's label `leasehold.dev/role`: for people (`kubectl get pods -L leasehold.dev/role`). Nothing depends on it.
//!
//! ```text
//!   role ──PATCH──▶ label     any failure: again, with pauses that grow     no such pod: when it is there
//!   once one was written, the pod is watched: edited or removed, the label is made right again
//! ```
//!
//! The watch begins after the first success, so without any permission for pods the log names one missing right, not three.

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use leasehold_contract::Role;
use leasehold_election::Version;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::kube::observe::{Observed, Observer};
use crate::kube::request::{Backoff, PODS, RequestError, Requester, Right};
use crate::kube::upkeep::{LABEL, Object, Upkeep};

/// The name of the label.
pub(crate) const ROLE_LABEL: &str = "leasehold.dev/role";
/// A role of `none` that lasts shorter than this is not written.
const NONE_MIN: Duration = Duration::from_secs(1);
/// The longest pause between attempts, and how often it is read while the pod cannot be watched.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// If somebody changes it again within this time, the repairs get growing pauses.
const QUIET: Duration = Duration::from_secs(60);

/// The few fields of a pod that we read: see [`crate::kube::members::StatefulSet`].
#[derive(Clone, Debug, Deserialize)]
struct Pod {
    metadata: ObjectMeta,
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        PODS.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Pod {
    fn label(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(ROLE_LABEL).map(String::as_str)
    }
}

/// Maintains the label.
pub(crate) struct Keeper {
    pub(crate) requester: Requester,
    /// The name of the pod.
    pub(crate) pod: String,
    pub(crate) upkeep: Upkeep,
    /// About so long after it could, the watch begins, or begins again: when all sidecars of a cluster start, or have lost their
    /// connections, the API server has more urgent requests.
    pub(crate) watch_pause: Duration,
    /// Asks the watch to start over.
    pub(crate) restart: watch::Receiver<u64>,
}

impl Keeper {
    /// Maintains the label until no new role can arrive. Only the newest role is written.
    pub(crate) async fn run(self, mut role: watch::Receiver<Option<&'static str>>) {
        let object: Object = (LABEL, self.pod.clone());
        let mut pauses = Backoff::new(PAUSE_MAX);
        let mut watching = Watching::default();
        let mut is_mending = false;
        let mut mended_at: Option<Instant> = None;
        loop {
            let Some(word) = *role.borrow_and_update() else {
                if role.changed().await.is_err() {
                    return;
                }
                continue;
            };
            if word == Role::None.as_str()
                && let Ok(changed) = tokio::time::timeout(NONE_MIN, role.changed()).await
            {
                if changed.is_err() {
                    return;
                }
                continue;
            }
            match self.patch(word).await {
                Ok(version) => {
                    self.upkeep.right(&object);
                    if std::mem::take(&mut is_mending) {
                        mended_at = Some(Instant::now());
                        self.upkeep.mended(&object);
                    }
                    watching.begin(&self, version);
                }
                // A process without a pod of this name has no label to maintain.
                Err(RequestError::NotFound) => self.upkeep.forget(&object),
                Err(error) => {
                    self.upkeep.failed(&object, &error);
                    tokio::select! {
                        () = pauses.wait() => {}
                        changed = role.changed() => if changed.is_err() { return },
                    }
                    continue;
                }
            }
            tokio::select! {
                changed = role.changed() => if changed.is_err() { return } else { pauses.reset() },
                differs = watching.differs(word) => {
                    is_mending = differs;
                    if differs && mended_at.is_some_and(|at| at.elapsed() < QUIET) {
                        pauses.wait().await;
                    } else {
                        pauses.reset();
                    }
                }
            }
        }
    }

    /// One attempt. Returns the version of the pod with the label.
    async fn patch(&self, word: &str) -> Result<Option<Version>, RequestError> {
        let api: Api<Pod> = Api::namespaced(self.requester.client.clone(), &self.requester.namespace);
        let patch = serde_json::json!({ "metadata": { "labels": { ROLE_LABEL: word } } });
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let request = api.patch_metadata(&self.pod, &params, &patch);
        let patched = self.requester.call(Right::new("patch", PODS), request).await?;
        Ok(patched.metadata.resource_version.map(Version))
    }
}

/// The watch of this pod, once it has begun.
#[derive(Default)]
struct Watching {
    task: JoinSet<()>,
    seen: Option<mpsc::Receiver<Observed<Pod>>>,
    is_open: bool,
    /// Our last write: an older version in the watch is no news.
    written: Option<Version>,
}

impl Watching {
    fn begin(&mut self, keeper: &Keeper, written: Option<Version>) {
        self.written = written;
        if self.seen.is_some() {
            return;
        }
        let (sender, receiver) = mpsc::channel(4);
        let observer = Observer {
            requester: keeper.requester.clone(),
            api: Api::<Pod>::namespaced(keeper.requester.client.clone(), &keeper.requester.namespace),
            name: keeper.pod.clone(),
            resource: PODS,
            backoff: Backoff::from(keeper.watch_pause, PAUSE_MAX),
            restart: keeper.restart.clone(),
        };
        let mut pause = Backoff::from(keeper.watch_pause, PAUSE_MAX);
        self.task.spawn(async move {
            pause.wait().await;
            observer.run(sender).await;
        });
        self.seen = Some(receiver);
    }

    /// Waits until the label is seen to differ; false: the pod cannot be watched, and it is time to read it.
    async fn differs(&mut self, word: &str) -> bool {
        loop {
            let seen = tokio::select! {
                seen = next(&mut self.seen) => seen,
                () = tokio::time::sleep(PAUSE_MAX), if !self.is_open => return false,
            };
            match seen {
                Some(Observed::Listed(Some(pod), _)) => {
                    self.is_open = true;
                    if self.is_changed(&pod, word) {
                        return true;
                    }
                }
                Some(Observed::Changed(pod)) if self.is_changed(&pod, word) => return true,
                Some(Observed::Changed(_)) => {}
                // The pod is gone, and so is its label.
                Some(Observed::Listed(None, _) | Observed::Deleted(_)) => self.is_open = true,
                Some(Observed::Lost | Observed::Failed) => self.is_open = false,
                None => return std::future::pending().await,
            }
        }
    }

    fn is_changed(&self, pod: &Pod, word: &str) -> bool {
        let version = pod.metadata.resource_version.clone().map(Version).unwrap_or_default();
        let is_old = self.written.as_ref().is_some_and(|written| version.is_older_than(written));
        !is_old && pod.label() != Some(word)
    }
}

async fn next(receiver: &mut Option<mpsc::Receiver<Observed<Pod>>>) -> Option<Observed<Pod>> {
    match receiver {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::args::Config;
    use crate::telemetry::Metrics;
    use leasehold_api::{ApiServer, Kind, Verb};
    use leasehold_testkit::{until, until_seen};
    use serde_json::{Value, json};

    struct Kept {
        api: ApiServer,
        role: watch::Sender<Option<&'static str>>,
        upkeep: Upkeep,
        _restart: watch::Sender<u64>,
    }

    impl Kept {
        async fn start() -> Kept {
            let api = ApiServer::start(0).unwrap();
            let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
            let requester = Requester::new(api.client("sidecar", "n").await.unwrap(), &config, Metrics::new());
            let upkeep = Upkeep::new(Metrics::new());
            let (restart, restarted) = watch::channel(0);
            let (role, roles) = watch::channel(None);
            let keeper = Keeper {
                requester,
                pod: "db-0".to_owned(),
                upkeep: upkeep.clone(),
                watch_pause: Duration::from_millis(50),
                restart: restarted,
            };
            tokio::spawn(keeper.run(roles));
            Kept { api, role, upkeep, _restart: restart }
        }

        fn put(&self, labels: Value) {
            self.api.put(Kind::Pod, "n", &json!({"metadata": {"name": "db-0", "labels": labels}})).unwrap();
        }

        async fn until(&self, word: &str) -> Value {
            let has = |pod: &Value| pod["metadata"]["labels"][ROLE_LABEL] == word;
            self.api.until(Kind::Pod, "n", "db-0", has).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_label_that_is_edited_or_removed_is_made_right_again() {
        let kept = Kept::start().await;
        kept.put(json!({"app": "x"}));
        kept.role.send_replace(Some("follower"));
        kept.until("follower").await;
        until("the pod is watched", || kept.api.requests(Verb::Watch, Kind::Pod) > 0).await;
        kept.role.send_replace(Some("leader"));
        assert_eq!(kept.until("leader").await["metadata"]["labels"]["app"], "x");
        kept.put(json!({ROLE_LABEL: "follower"}));
        kept.until("leader").await;
        kept.put(json!({"app": "y"}));
        assert_eq!(kept.until("leader").await["metadata"]["labels"]["app"], "y");
    }

    #[tokio::test]
    async fn a_role_of_none_is_not_written_in_passing() {
        let kept = Kept::start().await;
        kept.put(json!({}));
        kept.role.send_replace(Some("none"));
        tokio::task::yield_now().await;
        kept.role.send_replace(Some("leader"));
        kept.until("leader").await;
        kept.role.send_replace(Some("none"));
        kept.until("none").await;
        // A request is counted a moment after it is done.
        let count = || kept.api.requests(Verb::Patch, Kind::Pod);
        assert_eq!(until_seen("both are counted", count, |count| *count > 1).await, 2);
    }

    #[tokio::test]
    async fn a_refused_right_is_shown_and_asked_for_again_and_no_other_is_asked_for() {
        let kept = Kept::start().await;
        kept.put(json!({}));
        kept.api.deny(Verb::Patch, Kind::Pod);
        kept.role.send_replace(Some("follower"));
        until_seen(
            "it was refused twice",
            || kept.upkeep.failing(),
            |failing| failing.first().is_some_and(|found| found.reason == "denied" && found.attempts > 1),
        )
        .await;
        assert_eq!((kept.api.requests(Verb::List, Kind::Pod), kept.api.requests(Verb::Watch, Kind::Pod)), (0, 0));
        kept.api.grant_all();
        kept.until("follower").await;
        until_seen("nothing fails", || kept.upkeep.failing(), Vec::is_empty).await;
    }
}
