//! `Elector::lead`: work runs only while its process leads.

use std::time::Duration;

use leasehold_api::{ApiServer, Faults, Kind, Who};
use leasehold_contract::Moment;
use leasehold_sidecar::{Claim, Config, EndError};
use leasehold_testkit::until;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::service::{Work, lease, patient, short, start, within};

/// A process that is at work as long as it may be.
struct Process {
    stop: CancellationToken,
    run: JoinHandle<Result<(), EndError>>,
}

impl Process {
    async fn start(api: &ApiServer, config: Config, work: &Work, who: &'static str) -> Process {
        let (elector, stop, work) = (start(api, config).await, CancellationToken::new(), work.clone());
        let stopped = stop.clone();
        // Spawned: what a program needs of it must be `Send`.
        let run = tokio::spawn(elector.lead(async move { stopped.cancelled().await }, move |claim: Claim| {
            let work = work.clone();
            async move {
                let _at_work = work.begin(who, claim.term());
                std::future::pending::<()>().await;
            }
        }));
        Process { stop, run }
    }

    async fn stop(self) {
        self.stop.cancel();
        within(self.run).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_next_process_works_at_once_when_the_leader_is_stopped_and_never_two_at_a_time() {
    let (api, work) = (ApiServer::start(0).unwrap(), Work::default());
    let first = Process::start(&api, patient("a"), &work, "a").await;
    work.until("a").await;
    let second = Process::start(&api, patient("b"), &work, "b").await;
    api.until(Kind::Lease, "n", "app", |lease| lease["spec"]["holderIdentity"] == "a").await.unwrap();
    first.stop().await;
    // Without the word that the work has ended, it would wait for longer than this does.
    work.until("b").await;
    second.stop().await;
    assert_eq!(lease(&api)["metadata"]["annotations"]["leasehold.dev/released"], "2");
    work.check();
}

/// The Lease is let go of by the election, not by the work: its end is said afterwards.
#[tokio::test]
async fn after_a_switchover_the_named_process_works_at_once() {
    let (api, work) = (ApiServer::start(0).unwrap(), Work::default());
    let first = Process::start(&api, patient("a"), &work, "a").await;
    work.until("a").await;
    let second = Process::start(&api, patient("b"), &work, "b").await;
    let ask = json!({"metadata": {"annotations": {"leasehold.dev/preferred-holder": "b"}}});
    api.patch(Kind::Lease, "n", "app", &ask).unwrap();
    work.until("b").await;
    let ask = json!({"metadata": {"annotations": {"leasehold.dev/preferred-holder": "a"}}});
    api.patch(Kind::Lease, "n", "app", &ask).unwrap();
    work.until("a").await;
    first.stop().await;
    work.until("b").await;
    second.stop().await;
    work.check();
}

#[tokio::test]
async fn work_that_returns_passes_the_leadership_on() {
    let (api, work) = (ApiServer::start(0).unwrap(), Work::default());
    let stop = CancellationToken::new();
    let mut runs = Vec::new();
    for who in ["a", "b"] {
        let (elector, stopped, work) = (start(&api, patient(who)).await, stop.clone(), work.clone());
        let stopped = async move { stopped.cancelled().await };
        runs.push(tokio::spawn(elector.lead(stopped, move |claim| {
            let work = work.clone();
            async move {
                let _at_work = work.begin(who, claim.term());
                tokio::task::yield_now().await;
            }
        })));
    }
    until("each had its turn, twice", || work.of("a") >= 2 && work.of("b") >= 2).await;
    stop.cancel();
    for run in runs {
        within(run).await.unwrap().unwrap();
    }
    work.check();
}

#[tokio::test]
async fn work_is_dropped_well_before_the_claim_ends_when_the_api_server_is_gone_and_begins_anew_after_it() {
    let (api, work) = (ApiServer::start(0).unwrap(), Work::default());
    let elector = start(&api, short("a")).await;
    let state = elector.state();
    let (stop, seen) = (CancellationToken::new(), work.clone());
    let stopped = stop.clone();
    let run = tokio::spawn(elector.lead(async move { stopped.cancelled().await }, move |claim| {
        let work = work.clone();
        async move {
            let _at_work = work.begin("a", claim.term());
            std::future::pending::<()>().await;
        }
    }));
    seen.until("a").await;
    api.set_faults(&Who::All, Faults::black_hole());
    let mut valid_until = 0;
    until("the work is dropped", || {
        let role = state.borrow().role.clone();
        valid_until = role.and_then(|role| role.lease.valid_until_boottime_ns).unwrap_or(valid_until);
        seen.at_work().is_none()
    })
    .await;
    let left = valid_until.saturating_sub(Moment::now().boottime_ns);
    assert!(left > 0, "the claim had ended");
    api.clear_faults();
    api.drop_watches(&Who::All);
    seen.until("a").await;
    stop.cancel();
    within(run).await.unwrap().unwrap();
}

/// One thread, so what blocks it freezes all: the timers, the election, and whatever else could withdraw the claim.
#[tokio::test]
async fn a_thawed_process_does_not_go_on_with_its_work() {
    let (api, work) = (ApiServer::start(0).unwrap(), Work::default());
    let elector = start(&api, short("a")).await;
    let state = elector.state();
    let stop = CancellationToken::new();
    let (stopped, stopping) = (stop.clone(), stop.clone());
    let seen = work.clone();
    let run = elector.lead(async move { stopped.cancelled().await }, move |claim| {
        let (work, state, stopping) = (work.clone(), state.clone(), stopping.clone());
        async move {
            if work.of("a") > 0 {
                return stopping.cancel();
            }
            work.piece("a", claim.term());
            let valid_until = state.borrow().role.as_ref().and_then(|role| role.lease.valid_until_boottime_ns);
            let last_third = valid_until.unwrap() - 600_000_000;
            while Moment::now().boottime_ns < last_third {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            // It is ready to go on at once.
            tokio::task::yield_now().await;
            work.piece("frozen", claim.term());
        }
    });
    within(run).await.unwrap();
    assert_eq!((seen.of("a"), seen.of("frozen")), (1, 0));
}

#[tokio::test]
async fn an_elector_that_another_task_stops_ends_the_work_and_lets_go() {
    let (api, work) = (ApiServer::start(0).unwrap(), Work::default());
    let elector = start(&api, patient("a")).await;
    let (handle, seen) = (elector.handle(), work.clone());
    let run = tokio::spawn(elector.lead(std::future::pending(), move |claim| {
        let work = work.clone();
        async move {
            let _at_work = work.begin("a", claim.term());
            std::future::pending::<()>().await;
        }
    }));
    seen.until("a").await;
    handle.stop();
    within(run).await.unwrap().unwrap();
    assert_eq!(seen.at_work(), None);
    assert!(lease(&api)["spec"]["holderIdentity"].is_null(), "the Lease was not let go of");
    assert!(handle.leadership().await.is_none(), "it will not lead again");
}
