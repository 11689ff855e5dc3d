//! How fresh a read is, conditions of reads, and pages.
use super::*;

fn with(path: &str, headers: &[(&'static str, &str)]) -> Asking {
    headers.iter().fold(asking().path(path), |request, (name, value)| request.header(name, value))
}

#[tokio::test]
async fn a_strong_read_is_confirmed_first_and_a_local_one_asks_nobody() {
    for api in [Api::leader(), Api::follower()] {
        for path in ["/persons", "/persons?consistency=local", "/persons/93115462-543c-4149-9b75-2b1a84bd326c"] {
            assert_eq!(api.get(path).await.status(), StatusCode::OK);
        }
        assert_eq!(api.lock().asked, 0);
        let one = "/persons/93115462-543c-4149-9b75-2b1a84bd326c?consistency=strong";
        for path in ["/persons?consistency=strong", one, "/persons?consistency=strong&limit=1"] {
            assert_eq!(api.get(path).await.status(), StatusCode::OK);
        }
        assert_eq!(api.lock().asked, 3);
    }
}

#[tokio::test]
async fn a_strong_read_that_is_not_confirmed_says_why_and_is_never_answered_from_here() {
    let api = Api::follower();
    for (confirms, code) in [
        (None, Code::NotConfirmed),
        (Some(Err(Refusal::NoMajority)), Code::NoMajority),
        (Some(Err(Refusal::Overloaded)), Code::Overloaded),
        (Some(Err(Refusal::Failed)), Code::Failed),
        (Some(Err(Refusal::Diverged)), Code::Diverged),
        (Some(Err(Refusal::DiskStalled)), Code::DiskStalled),
    ] {
        api.lock().confirms = confirms;
        problem(&api.get("/persons?consistency=strong&timeout=50ms").await, code);
    }
    api.lock().confirms = None;
    let body = problem(&api.get("/persons?consistency=strong").await, Code::NotConfirmed);
    assert!(body["detail"].as_str().unwrap().contains("pod-1"), "{body}");
    assert!(body["detail"].as_str().unwrap().contains("200 ms"), "{body}");
}

#[tokio::test]
async fn a_read_after_a_sequence_waits_until_it_is_applied() {
    let api = Api::leader();
    assert_eq!(header(&api.get("/persons?after=4").await, SEQUENCE), Some("4"));
    // Nobody says how far the others are: it waits.
    api.lock().confirms = None;
    let body = problem(&api.get("/persons?after=5&timeout=50ms").await, Code::NotApplied);
    assert_eq!(body["applied"], 4);
    let waiting = api.get("/persons?after=5&timeout=10s");
    let writing = async {
        tokio::task::yield_now().await;
        api.post(JOHANNA).await
    };
    let (read, written) = tokio::join!(waiting, writing);
    assert_eq!(header(&read, SEQUENCE), header(&written, SEQUENCE));
    assert_eq!(value(&read).as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn a_read_after_a_sequence_does_not_wait_for_a_disk_that_hangs() {
    let api = Api::follower();
    api.lock().confirms = Some(Err(Refusal::DiskStalled));
    let body = problem(&api.get("/persons?after=5&timeout=30s").await, Code::DiskStalled);
    assert!(body["detail"].as_str().unwrap().contains("ask another replica"), "{body}");
    assert_eq!(api.get("/persons?after=4&timeout=30s").await.status(), StatusCode::OK, "that is here");
}

#[tokio::test]
async fn a_sequence_that_was_never_committed_is_refused_and_one_that_is_late_here_is_waited_for() {
    for api in [Api::leader(), Api::follower()] {
        for path in ["/persons?after=5", JOHANNA_PATH] {
            let path = if path == JOHANNA_PATH { format!("{path}?after=5") } else { path.to_owned() };
            let body = problem(&api.get(&path).await, Code::Ahead);
            assert_eq!(body["committed"], 4);
            assert!(body["detail"].as_str().unwrap().contains("committed up to 4"), "{body}");
        }
        // The leader cannot say; what is missing arrives meanwhile.
        api.lock().confirms = Some(Err(Refusal::NoMajority));
        let waiting = api.get("/persons?after=5&timeout=10s");
        let arriving = async {
            tokio::task::yield_now().await;
            api.load(r#"[{"firstName":"A","lastName":"B"}]"#);
        };
        let (read, ()) = tokio::join!(waiting, arriving);
        assert_eq!((read.status(), header(&read, SEQUENCE)), (StatusCode::OK, Some("5")));
    }
}

#[tokio::test]
async fn every_read_says_how_old_its_data_may_be_and_refuses_what_may_be_too_old() {
    let api = Api::follower();
    let one = "/persons/93115462-543c-4149-9b75-2b1a84bd326c";
    // Nobody has confirmed anything since the start.
    assert_eq!(header(&api.get("/persons").await, STALENESS), None);
    let body = problem(&api.get("/persons?max-staleness=5s").await, Code::Stale);
    assert_eq!(body["stalenessMs"], Value::Null);
    let staleness = |answer: &Response<Bytes>| header(answer, STALENESS).unwrap().parse::<u64>().unwrap();
    let strong = api.get("/persons?consistency=strong&max-staleness=5s").await;
    assert!((1..5_000).contains(&staleness(&strong)), "a strong read is as old as its answer is late");

    let begun = api.lock().server.begun();
    while begun.elapsed() < Duration::from_millis(150) {
        tokio::task::yield_now().await;
    }
    api.lock().server.set_fresh_as_of(Some(begun.elapsed() - Duration::from_millis(100)));
    for path in ["/persons", "/persons?limit=1", one, "/persons?max-staleness=1m", "/persons/{id}?max-staleness=1m"] {
        let answer = api.get(&path.replace("/persons/{id}", one)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!((100..60_000).contains(&staleness(&answer)), "{path}: {}", staleness(&answer));
    }
    let missing = api.get(JOHANNA_PATH).await;
    assert_eq!((missing.status(), staleness(&missing) >= 100), (StatusCode::NOT_FOUND, true));
    for path in ["/persons?max-staleness=99ms".to_owned(), format!("{one}?max-staleness=0s")] {
        let body = problem(&api.get(&path).await, Code::Stale);
        assert!(body["stalenessMs"].as_u64().unwrap() >= 100, "{body}");
    }
    for wrong in ["5", "-1s", "soon", ""] {
        problem(&api.get(&format!("/persons?max-staleness={wrong}")).await, Code::InvalidQuery);
    }
    let page = api.get("/persons?limit=1&max-staleness=1m").await;
    assert!(header(&page, "link").unwrap().contains("max-staleness=60000ms"));
}

#[tokio::test]
async fn a_client_that_has_the_record_is_told_304() {
    let api = Api::leader();
    let path = "/persons/93115462-543c-4149-9b75-2b1a84bd326c";
    let read = api.get(path).await;
    let tag = header(&read, "etag").unwrap().to_owned();
    let foreign = r#""x", W/"abc""#.to_owned();
    for condition in [tag.clone(), "*".to_owned(), format!("W/{tag}"), format!("{foreign}, {tag}")] {
        let answer = api.send(with(path, &[("if-none-match", &condition)])).await;
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{condition}");
        assert!(answer.body().is_empty());
        assert_eq!((header(&answer, "etag"), header(&answer, SEQUENCE)), (Some(&*tag), Some("4")));
    }
    let other = format!("\"{:032x}\"", 7);
    for condition in [&foreign, &other] {
        assert_eq!(api.send(with(path, &[("if-none-match", condition)])).await.status(), StatusCode::OK);
        problem(&api.send(with(path, &[("if-match", condition)])).await, Code::PreconditionFailed);
    }
    assert_eq!(api.send(with(path, &[("if-match", &tag)])).await.status(), StatusCode::OK);
    api.json("PUT", path, r#"{"firstName":"A","lastName":"B"}"#).await;
    assert_eq!(api.send(with(path, &[("if-none-match", &tag)])).await.status(), StatusCode::OK);
    problem(&api.send(with(JOHANNA_PATH, &[("if-none-match", "*")])).await, Code::UnknownId);
}

/// All pages from this path on, and what was done between them.
pub(super) async fn pages(api: &Api, path: &str, mut between: impl AsyncFnMut(&Api)) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let page = api.get(&path).await;
        assert_eq!(page.status(), StatusCode::OK, "{path}: {page:?}");
        pages.push(value(&page).as_array().unwrap().clone());
        next = header(&page, "link").map(|link| {
            link.strip_prefix('<')
                .unwrap()
                .strip_suffix(">; rel=\"next\"")
                .expect("one link, to the next page")
                .to_owned()
        });
        between(api).await;
    }
    pages
}

#[tokio::test]
async fn pages_hold_each_record_once_in_order_and_the_last_one_has_no_link() {
    let api = Api::leader();
    let all = value(&api.get("/persons").await).as_array().unwrap().clone();
    for (limit, sizes) in [(1, vec![1, 1, 1, 1]), (3, vec![3, 1]), (4, vec![4]), (1000, vec![4])] {
        let pages = pages(&api, &format!("/persons?limit={limit}"), async |_| {}).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "limit {limit}");
        assert_eq!(pages.concat(), all);
    }
    let filtered = pages(&api, "/persons?lastName=Airom&limit=1", async |_| {}).await;
    assert_eq!(filtered, [[all[3].clone()]]);
    assert_eq!(pages(&api, "/persons?lastName=Nobody&limit=1", async |_| {}).await, [Vec::<Value>::new()]);
}

#[tokio::test]
async fn writes_between_two_pages_move_nothing() {
    let api = Api::leader();
    let before = value(&api.get("/persons").await).as_array().unwrap().clone();
    let mut turn = 0;
    let pages = pages(&api, "/persons?limit=1", async |api| {
        turn += 1;
        match turn {
            // The record that ended the page is gone, the next one is replaced, one is added last.
            1 => drop(api.json("DELETE", &format!("/persons/{}", before[0]["id"].as_str().unwrap()), "").await),
            2 => {
                let path = format!("/persons/{}", before[3]["id"].as_str().unwrap());
                api.json("PUT", &path, r#"{"firstName":"Alain","lastName":"Replaced"}"#).await;
            }
            3 => drop(api.post(JOHANNA).await),
            _ => {}
        }
    })
    .await
    .concat();
    assert_eq!(pages[..3], before[..3]);
    assert_eq!(pages[3]["lastName"], "Replaced");
    assert_eq!(pages[4]["firstName"], "Johanna");
    assert_eq!(pages.len(), 5);
}

#[tokio::test]
async fn a_cursor_without_a_limit_lists_the_rest_and_a_bad_one_is_said_to_be_one() {
    let api = Api::leader();
    let first = api.get("/persons?limit=2").await;
    let link = header(&first, "link").unwrap();
    let cursor = link.split("cursor=").nth(1).unwrap().split('>').next().unwrap();
    let rest = value(&api.get(&format!("/persons?cursor={cursor}")).await);
    assert_eq!(rest.as_array().unwrap().len(), 2);
    for bad in ["x", "0", &cursor[1..], &format!("{cursor}0")] {
        let body = problem(&api.get(&format!("/persons?cursor={bad}")).await, Code::InvalidQuery);
        assert_eq!(body["parameter"], "cursor");
        assert!(body["detail"].as_str().unwrap().contains("cursor"), "{body}");
    }
}
