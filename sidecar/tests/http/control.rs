//! Step-down and released.

use std::time::{Duration, Instant};

use leasehold_api::ApiServer;
use leasehold_contract::{Role, RoleFile, read_json};

use crate::pod::{LEASE_SECONDS, Pod, annotation, holder, lease, until_lease};

#[test]
fn a_step_down_moves_the_leadership_and_its_repetition_moves_nothing() {
    let api = ApiServer::start(0).unwrap();
    let a = Pod::start(&api, "a", &[]);
    let term = a.leads();
    let b = Pod::start(&api, "b", &[]);
    b.follows(&a);
    let began = Instant::now();
    let (code, body) = a.ask("step-down", term);
    let role: RoleFile = read_json(&a.file("role.json")).unwrap();
    assert_ne!((role.role, role.term), (Role::Leader, term), "200 came before role.json");
    assert_eq!((code, &body["leads"]), (200, &false.into()), "{body}");
    let next = b.leads();
    assert!(next > term);
    assert!(began.elapsed() < Duration::from_secs(LEASE_SECONDS), "only the expiry moved it: {:?}", began.elapsed());
    a.follows(&b);

    // The answer got lost, and the app asks again, even with the other call.
    for call in ["step-down", "released"] {
        let (code, body) = a.ask(call, term);
        assert_eq!((code, &body["leader"]["name"], &body["term"]), (200, &"b".into(), &next.into()), "{body}");
    }
    // Elsewhere, and for any other term, nothing is done.
    for (pod, asked) in [(&b, term), (&b, next + 1), (&a, next), (&a, 0)] {
        let (code, body) = pod.ask("released", asked);
        assert_eq!((code, &body["term"]), (409, &next.into()), "{} for {asked}: {body}", pod.name);
        assert!(body["error"].as_str().unwrap().contains("nothing was done"), "{body}");
    }
    // The old request arrives when its pod leads again, in a later term.
    assert_eq!(b.ask("released", next).0, 200);
    let third = a.leads();
    assert!(third > next);
    let (code, body) = a.ask("released", term);
    assert_eq!((code, &body["term"]), (409, &third.into()), "{body}");
    let held = lease(&api);
    assert_eq!((holder(&held), &held["spec"]["leaseTransitions"]), (Some("a"), &third.into()));
}

/// Nobody else is there: what the Lease says when it was let go can be seen.
#[test]
fn only_the_word_of_the_app_marks_the_lease_as_released() {
    let api = ApiServer::start(0).unwrap();
    let a = Pod::start(&api, "a", &[]);
    let term = a.leads();
    assert_eq!(a.ask("step-down", term).0, 200);
    let cleared = until_lease(&api, "it is cleared", |lease| holder(lease).is_none());
    assert_eq!(annotation(&cleared, "released"), None, "the app may still be at work");
    assert_eq!(cleared["spec"]["leaseTransitions"], term);
    // It follows the step-down, as an app does that needs a moment.
    assert_eq!(a.ask("released", term).0, 200);
    let released = until_lease(&api, "it says so", |lease| annotation(lease, "released").is_some());
    assert_eq!((holder(&released), annotation(&released, "released")), (None, Some(term.to_string())));
    // It contends last, but it does.
    let next = a.leads();
    assert!(next > term);
    assert_eq!(annotation(&lease(&api), "released"), None);
    assert_eq!(a.ask("released", next).0, 200);
    let released = until_lease(&api, "it says so at once", |lease| annotation(lease, "released").is_some());
    assert_eq!((holder(&released), annotation(&released, "released")), (None, Some(next.to_string())));
}

/// With these lost-times an ordinary clear costs 3.8 s, and the expiry 4 s.
#[test]
fn after_the_word_the_next_leader_waits_for_nothing() {
    let api = ApiServer::start(0).unwrap();
    let slow = ["--lost-time", "1900ms"];
    let a = Pod::start(&api, "a", &slow);
    let term = a.leads();
    let b = Pod::start(&api, "b", &slow);
    b.follows(&a);
    let began = Instant::now();
    assert_eq!(a.ask("released", term).0, 200);
    b.leads();
    assert!(began.elapsed() < Duration::from_millis(3800), "it waited two lost-times: {:?}", began.elapsed());
}

#[test]
fn only_a_plain_app_that_has_the_word_of_this_run_is_heard() {
    let api = ApiServer::start(0).unwrap();
    let a = Pod::start(&api, "a", &[]);
    let (term, word) = (a.leads(), a.word());
    for fields in ["", "authorization: Bearer 00\r\n", "authorization: Basic 00\r\n"] {
        assert_eq!(a.ask_with("step-down", term, fields).0, 401, "{fields}");
    }
    let good = format!("authorization: Bearer {word}\r\n");
    assert_eq!(a.ask_with("step-down", term, &format!("{good}origin: http://evil.example\r\n")).0, 403);
    assert_eq!(a.ask_with("step-down", term, &format!("{good}host: evil.example\r\n")).0 / 100, 4);
    assert_eq!(a.get("/v1/step-down").0, 405);
    assert_eq!(a.leads(), term, "a refused request ended it");
    std::fs::remove_file(a.file("control.token")).unwrap();
    leasehold_testkit::until_blocking("the word is written again", || a.file("control.token").exists());
    assert_eq!(a.word(), word);

    let dir = a.kill();
    let a = Pod::start_in(dir, &api, "a", &[]);
    assert_ne!(a.word(), word, "the word of the run before still works");
    assert_eq!(a.ask_with("step-down", term, &good).0, 401);

    let fencing = Pod::start(&api, "c", &["--app", "fencing"]);
    assert_eq!(fencing.ask_with("step-down", term, &good).0, 404);
    assert!(!fencing.file("control.token").exists());
}

#[test]
fn a_person_in_the_pod_can_step_down_by_a_command() {
    let api = ApiServer::start(0).unwrap();
    let a = Pod::start(&api, "a", &[]);
    let term = a.leads();
    let b = Pod::start(&api, "b", &[]);
    b.follows(&a);
    let (code, said) = b.command(&["step-down"]);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("b does not lead; a does, in term {term}. Nothing was changed")), "{said}");
    let (code, said) = a.command(&["step-down", "--term", &(term + 5).to_string()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("409") && said.contains(&format!("in term {term}, so nothing was done")), "{said}");
    let (code, said) = a.command(&["step-down"]);
    let next = b.leads();
    assert_eq!((code, said), (Some(0), format!("a no longer leads (term {term}); b leads, in term {next}\n")));

    let dir = b.kill();
    let (code, said) = a.command(&["step-down", "--listen", "127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("no sidecar of \"a\" answers at 127.0.0.1:1") && said.contains("kubectl exec -n n"),
        "{said}"
    );
    let nowhere = dir.path().join("nowhere");
    a.leads();
    let (code, said) = a.command(&["step-down", "--directory", nowhere.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("control.token") && said.contains("--directory"), "{said}");
}
