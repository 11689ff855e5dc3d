//! Processes of one service, as electors in this one, and what their work did.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_api::{ApiServer, Kind};
use leasehold_sidecar::{Client, Config, Elector, State};
use serde_json::Value;

pub(crate) const LONG: Duration = Duration::from_secs(40);

/// A Lease that runs out soon.
pub(crate) fn short(name: &str) -> Config {
    let config = Config::plain("n", "app", name, "10.0.0.7:80").unwrap();
    Config { lease_duration: Duration::from_secs(2), lost_time: Duration::from_millis(200), ..config }
}

/// Nobody is a leader soon unless the last one said that its work has ended: others would wait for twice [`LONG`].
pub(crate) fn patient(name: &str) -> Config {
    Config { lease_duration: Duration::from_secs(240), lost_time: LONG, ..short(name) }
}

pub(crate) async fn client(api: &ApiServer) -> Client {
    api.client("app", "n").await.unwrap()
}

pub(crate) async fn start(api: &ApiServer, config: Config) -> Elector {
    Elector::start(config, client(api).await).await.unwrap()
}

/// Ends it, patiently.
pub(crate) async fn stop(elector: Elector) {
    elector.stop();
    within(elector.ended()).await.unwrap();
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it takes too long")
}

pub(crate) async fn until(elector: &Elector, wanted: impl Fn(&State) -> bool) -> State {
    let mut state = elector.state();
    let found = tokio::time::timeout(LONG, state.wait_for(|state| wanted(state))).await;
    match found {
        Ok(state) => state.unwrap().clone(),
        Err(_) => panic!("it stays {:#?}", *elector.state().borrow()),
    }
}

/// The Lease; null where there is none.
pub(crate) fn lease(api: &ApiServer) -> Value {
    api.get(Kind::Lease, "n", "app").unwrap_or(Value::Null)
}

/// What was done, in order: who, in which term.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work(Arc<Mutex<Done>>);

#[derive(Debug, Default)]
struct Done {
    pieces: Vec<(&'static str, u64)>,
    /// Who is at work.
    at_work: Option<&'static str>,
}

/// Somebody is at work, until this is dropped.
pub(crate) struct AtWork(Work);

impl Work {
    pub(crate) fn piece(&self, who: &'static str, term: u64) {
        self.0.lock().unwrap().pieces.push((who, term));
    }

    /// Begins work that lasts. Two at work at the same time are what all this is against.
    pub(crate) fn begin(&self, who: &'static str, term: u64) -> AtWork {
        let mut done = self.0.lock().unwrap();
        assert_eq!(done.at_work.replace(who), None, "{who} begins in term {term}, and another one is still at work");
        done.pieces.push((who, term));
        AtWork(self.clone())
    }

    pub(crate) fn of(&self, who: &str) -> usize {
        self.0.lock().unwrap().pieces.iter().filter(|(name, _)| *name == who).count()
    }

    pub(crate) fn at_work(&self) -> Option<&'static str> {
        self.0.lock().unwrap().at_work
    }

    pub(crate) async fn until(&self, who: &'static str) {
        leasehold_testkit::until(format!("{who} is at work"), || self.at_work() == Some(who)).await;
    }

    /// Terms never go down, and no two share one.
    pub(crate) fn check(&self) {
        let pieces = self.0.lock().unwrap().pieces.clone();
        assert!(pieces.windows(2).all(|pair| pair[0].1 <= pair[1].1), "terms went back: {pieces:?}");
        let mut terms = std::collections::BTreeMap::new();
        assert!(pieces.iter().all(|(name, term)| *terms.entry(*term).or_insert(name) == name), "shared: {pieces:?}");
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().at_work = None;
    }
}
