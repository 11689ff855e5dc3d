//! Each example of `sidecar/examples` with two processes: one works; it is stopped, and the other one does.

#[path = "../../examples/embedded.rs"]
#[allow(dead_code)]
mod embedded;
#[path = "../../examples/own_loop.rs"]
#[allow(dead_code)]
mod own_loop;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold_api::ApiServer;
use leasehold_testkit::until;
use tokio_util::sync::CancellationToken;

use crate::service::{Work, client, patient, within};

const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test]
async fn embedded_works_only_where_it_leads() {
    let (api, work) = (ApiServer::start(0).unwrap(), Work::default());
    let mut runs = Vec::new();
    for who in ["a", "b"] {
        let (stop, work, of) = (CancellationToken::new(), work.clone(), work.clone());
        let stopped = stop.clone();
        let run = embedded::lead(patient(who), client(&api).await, PAUSE, async move { stopped.cancelled().await }, {
            move |term| work.piece(who, term)
        });
        runs.push((stop, tokio::spawn(run)));
        if who == "a" {
            until("the first works", || of.of("a") > 0).await;
        }
    }
    assert_eq!(work.of("b"), 0);
    for ((stop, run), who) in runs.into_iter().zip(["a", "b"]) {
        until(format!("{who} works"), || work.of(who) > 0).await;
        stop.cancel();
        within(run).await.unwrap().unwrap();
    }
    work.check();
}

#[tokio::test]
async fn own_loop_works_only_where_it_leads_and_gives_way_when_it_fails() {
    let (api, work) = (ApiServer::start(0).unwrap(), Work::default());
    static FAILS: AtomicBool = AtomicBool::new(false);
    let mut runs = Vec::new();
    for who in ["a", "b"] {
        let (stop, worked, of) = (CancellationToken::new(), work.clone(), work.clone());
        let piece = move |term| {
            let _at_work = worked.begin(who, term);
            if who == "a" && FAILS.load(Ordering::Relaxed) { Err("the disk is full".to_owned()) } else { Ok(()) }
        };
        let run = own_loop::lead(patient(who), client(&api).await, PAUSE, stop.clone(), piece);
        runs.push((stop, tokio::spawn(run)));
        if who == "a" {
            until("the first works", || of.of("a") > 0).await;
        }
    }
    FAILS.store(true, Ordering::Relaxed);
    until("the other one works", || work.of("b") > 0).await;
    FAILS.store(false, Ordering::Relaxed);
    let (others, (stop, run)) = (work.of("a"), runs.pop().unwrap());
    stop.cancel();
    within(run).await.unwrap().unwrap();
    until("the first works again", || work.of("a") > others).await;
    let (stop, run) = runs.pop().unwrap();
    stop.cancel();
    within(run).await.unwrap().unwrap();
    work.check();
}
