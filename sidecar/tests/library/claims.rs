//! `Claim` and `Handle`: loops of one's own, letting go, fitness.

use std::time::Duration;

use leasehold_api::{ApiServer, Faults, Kind, Who};
use leasehold_sidecar::{Config, Elector, Lost, StartError, State};

use crate::service::{client, lease, patient, short, start, stop, until, within};

#[tokio::test]
async fn a_claim_is_valid_while_it_is_renewed_and_lost_for_good() {
    let api = ApiServer::start(0).unwrap();
    let elector = start(&api, short("a")).await;
    let claim = within(elector.leadership()).await.unwrap();
    assert_eq!((claim.term(), claim.is_valid()), (1, true));
    assert!(claim.remaining().unwrap() <= Duration::from_secs(2) * 2 / 3);
    // Longer than one claim is valid: it is renewed.
    let renewals = api.requests(leasehold_api::Verb::Update, Kind::Lease) + 4;
    leasehold_testkit::until("it was renewed", || api.requests(leasehold_api::Verb::Update, Kind::Lease) >= renewals)
        .await;
    assert!(claim.is_valid());
    let other = claim.clone();
    api.set_faults(&Who::All, Faults::black_hole());
    within(claim.lost()).await;
    api.clear_faults();
    api.drop_watches(&Who::All);
    let next = within(elector.leadership()).await.unwrap();
    assert!(next.is_valid() && next.term() >= claim.term());
    assert!(!claim.is_valid() && !other.is_valid() && claim.remaining().is_none(), "lost once, lost for good");
    let lost: Result<(), Lost> = claim.while_valid(async { panic!("it is polled") }).await;
    assert_eq!(lost.unwrap_err().to_string(), "this process no longer leads");
    assert_eq!(next.while_valid(async { 7 }).await, Ok(7));
    stop(elector).await;
    assert!(!next.is_valid());
}

/// Two tasks, say: one still ends what was lost in an outage, and the other works again, in the same term.
#[tokio::test]
async fn an_old_claim_does_not_end_the_leadership_that_was_renewed_in_its_term() {
    let api = ApiServer::start(0).unwrap();
    let elector = start(&api, short("a")).await;
    let old = within(elector.leadership()).await.unwrap();
    api.set_faults(&Who::All, Faults::black_hole());
    within(old.lost()).await;
    api.clear_faults();
    api.drop_watches(&Who::All);
    let next = within(elector.leadership()).await.unwrap();
    assert_eq!(next.term(), old.term(), "nobody led meanwhile");
    within(old.step_down()).await;
    assert!(next.is_valid());
    within(old.release()).await;
    assert!(next.is_valid());
    assert_eq!(lease(&api)["spec"]["holderIdentity"], "a");
    stop(elector).await;
}

#[tokio::test]
async fn an_error_says_what_to_do() {
    let api = ApiServer::start(0).unwrap();
    let nowhere = Config { kubeconfig: Some("/nowhere/config".into()), ..short("a") };
    let error = leasehold_sidecar::connect(&nowhere).await.err().unwrap();
    assert!(error.to_string().contains("Config::kubeconfig"), "{error}");
    let nameless = Config { address: None, ..short("a") };
    let error = Elector::start(nameless, client(&api).await).await.unwrap_err();
    assert!(matches!(error, StartError::NoAddress) && error.to_string().contains("Config::address"), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let error = Elector::start(Config { listen: Some(port), ..short("a") }, client(&api).await).await.unwrap_err();
    let words = error.to_string();
    let StartError::Listen(source) = error else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
    assert!(words.contains(&format!("{port} is taken")) && words.contains("Config::listen"), "{words}");
}

#[tokio::test]
async fn a_claim_ends_with_its_elector() {
    let api = ApiServer::start(0).unwrap();
    let elector = start(&api, patient("a")).await;
    let handle = elector.handle();
    let claim = within(elector.leadership()).await.unwrap();
    assert!(handle.claim().is_some_and(|same| same.term() == claim.term()));
    drop(elector);
    // Its tasks end when the runtime sees that they were cancelled.
    within(claim.lost()).await;
    assert!(handle.claim().is_none() && within(handle.leadership()).await.is_none());
    assert_eq!(lease(&api)["spec"]["holderIdentity"], "a", "dropped as by a crash");
    within(claim.release()).await;
}

#[tokio::test]
async fn released_the_next_leads_at_once_and_an_old_claim_ends_no_other_leadership() {
    let api = ApiServer::start(0).unwrap();
    let (first, second) = (start(&api, patient("a")).await, start(&api, patient("b")).await);
    let (leader, other) = first.leadership_of_either(&second).await;
    let claim = within(leader.leadership()).await.unwrap();
    let old = claim.clone();
    within(claim.release()).await;
    assert!(!old.is_valid() && leader.handle().claim().is_none());
    let next = within(other.leadership()).await.unwrap();
    assert_eq!(next.term(), old.term() + 1);
    within(old.step_down()).await;
    within(old.release()).await;
    // Whatever the old claim asked for has been answered: it is not waited for.
    assert!(next.is_valid());
    within(next.clone().release()).await;
    assert_eq!(within(leader.leadership()).await.unwrap().term(), next.term() + 1);
}

#[tokio::test]
async fn stepping_down_gives_up_and_the_word_may_follow() {
    let api = ApiServer::start(0).unwrap();
    let (first, second) = (start(&api, patient("a")).await, start(&api, patient("b")).await);
    let (leader, other) = first.leadership_of_either(&second).await;
    let claim = within(leader.leadership()).await.unwrap();
    within(claim.step_down()).await;
    assert!(!claim.is_valid() && !leader.state().borrow().leads());
    let cleared = |lease: &serde_json::Value| lease["spec"]["holderIdentity"].is_null();
    let lease = api.until(Kind::Lease, "n", "app", cleared).await.unwrap();
    assert!(lease["metadata"]["annotations"]["leasehold.dev/released"].is_null(), "its work may still end");
    within(claim.release()).await;
    within(other.leadership()).await.unwrap();
}

#[tokio::test]
async fn an_unfit_process_leaves_the_leadership_to_a_fit_one() {
    let api = ApiServer::start(0).unwrap();
    let unfit = start(&api, Config { starts_fit: false, ..short("a") }).await;
    let state = until(&unfit, |state| state.unfit().is_some()).await;
    assert!(state.unfit().unwrap().contains("not said"), "{:?}", state.unfit());
    let fit = start(&api, short("b")).await;
    let claim = within(fit.leadership()).await.unwrap();
    unfit.handle().set_fit();
    until(&unfit, |state| state.unfit().is_none()).await;
    fit.handle().set_unfit("the disk is full");
    within(claim.lost()).await;
    assert!(fit.state().borrow().unfit().unwrap().contains("the disk is full"));
    let next = within(unfit.leadership()).await.unwrap();
    assert!(next.term() > claim.term());
    stop(unfit).await;
    stop(fit).await;
}

/// A Lease says whole seconds: two processes would count differently.
#[tokio::test]
async fn a_configuration_that_no_flag_would_allow_is_refused_at_the_start() {
    let api = ApiServer::start(0).unwrap();
    let millis = Duration::from_millis;
    for (config, field) in [
        (Config { lease_duration: millis(1500), ..short("a") }, "lease_duration"),
        (Config { lease_duration: millis(0), ..short("a") }, "lease_duration"),
        (Config { lost_time: millis(2000), ..short("a") }, "lost_time"),
        (Config { name: "No Name".to_owned(), ..short("a") }, "name"),
    ] {
        let Err(StartError::Config(error)) = Elector::start(config, client(&api).await).await else {
            panic!("{field} is accepted");
        };
        assert!(error.to_string().starts_with(field), "{error}");
    }
}

/// Who of two leads.
trait Either {
    async fn leadership_of_either<'a>(&'a self, other: &'a Self) -> (&'a Self, &'a Self);
}

impl Either for Elector {
    async fn leadership_of_either<'a>(&'a self, other: &'a Self) -> (&'a Self, &'a Self) {
        let known = |state: &State| state.leader().is_some();
        let (a, b) = tokio::join!(until(self, known), until(other, known));
        assert_eq!(a.leader(), b.leader());
        if a.leads() { (self, other) } else { (other, self) }
    }
}
