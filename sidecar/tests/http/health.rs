//! Fit to lead.

use std::time::{Duration, SystemTime};

use leasehold_api::ApiServer;
use leasehold_testkit::{until_blocking, until_seen_blocking};
use serde_json::Value;

use crate::pod::{Pod, annotation, holder, lease, until_lease};
use crate::target::Target;

/// A file that an app touches: a check of its age is told when it was touched.
struct Touched(tempfile::NamedTempFile);

impl Touched {
    fn now() -> Touched {
        Touched(tempfile::NamedTempFile::new().unwrap())
    }

    fn args(&self) -> [&str; 6] {
        let path = self.0.path().to_str().unwrap();
        ["--health-file", path, "--health-max-age", "1h", "--health-period", "200ms"]
    }

    fn is_young(&self, is_young: bool) {
        let ago = if is_young { Duration::ZERO } else { Duration::from_secs(7200) };
        self.0.as_file().set_modified(SystemTime::now() - ago).unwrap();
    }
}

fn health(pod: &Pod, fit: bool) -> Value {
    let what = format!("{} is fit: {fit}", pod.name);
    until_seen_blocking(what, || pod.get("/v1/state").1["health"].clone(), |health| health["fit"] == fit)
}

fn metric(pod: &Pod) -> String {
    let text = pod.get("/metrics").1;
    let line = text.as_str().unwrap().lines().find(|line| line.starts_with("leasehold_sidecar_app_fit "));
    line.unwrap().to_owned()
}

#[test]
fn an_unfit_leader_is_replaced_and_two_unfit_pods_do_not_flap() {
    let api = ApiServer::start(0).unwrap();
    let (of_a, of_b) = (Touched::now(), Touched::now());
    let a = Pod::start(&api, "a", &of_a.args());
    let first = a.leads();
    let b = Pod::start(&api, "b", &of_b.args());
    b.follows(&a);
    health(&b, true);
    assert_eq!(metric(&a), "leasehold_sidecar_app_fit 1");

    of_a.is_young(false);
    assert!(b.leads() > first);
    let said = health(&a, false);
    assert!(said["failure"].as_str().unwrap().contains("it was written 7200"), "{said}");
    assert!(said["check"].as_str().unwrap().contains(of_a.0.path().to_str().unwrap()), "{said}");
    assert_eq!(metric(&a), "leasehold_sidecar_app_fit 0");
    let unfit = || a.log().iter().filter(|line| line.contains("the app is unfit to lead")).count();
    assert_eq!(unfit(), 1, "{:#?}", a.log());
    let (_, table) = a.command(&["status"]);
    assert!(table.contains("follower (app unfit)"), "{table}");

    // Both: one takes it, and keeps it.
    of_b.is_young(false);
    let taken = until_lease(&api, "an unfit pod leads", |lease| annotation(lease, "unfit").is_some());
    let term = taken["spec"]["leaseTransitions"].clone();
    let mut renewed = taken["spec"]["renewTime"].clone();
    for _ in 0..6 {
        let now = until_lease(&api, "it is renewed", |lease| lease["spec"]["renewTime"] != renewed);
        assert_eq!((holder(&now), &now["spec"]["leaseTransitions"]), (holder(&taken), &term), "it flaps: {now}");
        renewed = now["spec"]["renewTime"].clone();
    }
    assert_eq!(unfit(), 1, "each change is logged once: {:#?}", a.log());

    // The other one recovers, and leads.
    let (leader, other, of_other) = if holder(&taken) == Some("a") { (&a, &b, &of_b) } else { (&b, &a, &of_a) };
    assert!(leader.leads() == term.as_u64().unwrap());
    of_other.is_young(true);
    assert!(other.leads() > term.as_u64().unwrap());
    until_lease(&api, "a fit pod leads", |lease| annotation(lease, "unfit").is_none());
}

#[test]
fn a_pod_whose_app_was_never_fit_does_not_lead_before_one_that_is() {
    let api = ApiServer::start(0).unwrap();
    let missing = tempfile::tempdir().unwrap().path().join("missing");
    let a = Pod::start(&api, "a", &["--health-file", missing.to_str().unwrap(), "--health-period", "200ms"]);
    let said = health(&a, false);
    assert!(said["check"].as_str().unwrap().contains("missing"), "{said}");
    let of_b = Touched::now();
    let b = Pod::start(&api, "b", &of_b.args());
    let term = b.leads();
    assert_eq!(lease(&api)["spec"]["leaseTransitions"], term);
    assert_eq!(term, 1, "a led before: {:#?}", a.log());
}

#[test]
fn a_url_is_fit_while_it_answers_with_2xx() {
    let api = ApiServer::start(0).unwrap();
    let app = Target::start(204);
    let args = ["--health-url", &app.url, "--health-period", "200ms"];
    let (a, b) = (Pod::start(&api, "a", &args), Pod::start(&api, "b", &[]));
    health(&a, true);
    until_blocking("one leads", || holder(&lease(&api)).is_some());
    app.answers(503);
    let check = format!("GET {}", app.url);
    let says = |health: &Value| health["fit"] == false && health["failure"] == "status 503";
    let said = until_seen_blocking("it is unfit", || a.get("/v1/state").1["health"].clone(), says);
    assert_eq!(said["check"], check);
    b.leads();
    a.follows(&b);
    let line = |words: &str| a.log().into_iter().find(|line| line.contains(words)).unwrap_or_default();
    let unfit = line("the app is unfit to lead");
    assert!(unfit.contains(&check) && unfit.contains("status 503"), "{unfit}");

    let nobody = ["--health-url", "http://127.0.0.1:1/", "--health-period", "200ms"];
    let c = Pod::start(&api, "c", &nobody);
    let refused = |health: &Value| health["failure"].as_str().is_some_and(|why| why.starts_with("Connection refused"));
    until_seen_blocking("it says why", || c.get("/v1/state").1["health"].clone(), refused);
}
