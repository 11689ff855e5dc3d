//! Lists with filters, orders, counts, and cursors of version 2.
use super::reads::pages;
use super::*;

/// The last names of all pages.
async fn names(api: &Api, path: &str) -> Vec<String> {
    let all = pages(api, path, async |_| {}).await.concat();
    all.iter().map(|record| record["lastName"].as_str().unwrap().to_owned()).collect()
}

fn cursor(answer: &Response<Bytes>) -> String {
    let link = header(answer, "link").expect("there is a next page");
    link.split("cursor=").nth(1).unwrap().split('>').next().unwrap().to_owned()
}

#[tokio::test]
async fn filters_keep_what_they_say_and_all_of_them_must_hold() {
    let api = Api::leader();
    for (query, expected) in [
        ("where.lastName=Airom", &["Airom"][..]),
        ("where.lastName.eq=Airom&where.firstName=Alain", &["Airom"]),
        ("where.lastName=Airom&firstName=Adam", &[]),
        ("lastName=Airom&where.firstName.ne=Adam", &["Airom"]),
        ("where.lastName.ne=Airom", &["Heidloff", "Deleeuw", "Suedbroecker"]),
        ("where.lastName.in=Airom&where.lastName.in=Deleeuw&where.lastName.in=X", &["Deleeuw", "Airom"]),
        ("where.age.exists=true", &[]),
        ("where.age.exists=false&where.id.prefix=93", &["Deleeuw"]),
        ("where.id.prefix=9", &["Airom", "Deleeuw"]),
        (
            "where.id.gte=93115462-543C-4149-9B75-2B1A84BD326C&where.id.lt=e0a08c5b-62d5-4b20-a024-e1c270d901c2",
            &["Deleeuw", "Suedbroecker"],
        ),
        ("sort=id", &["Airom", "Deleeuw", "Suedbroecker", "Heidloff"]),
        ("sort=-id", &["Heidloff", "Suedbroecker", "Deleeuw", "Airom"]),
        ("sort=-id&where.firstName.ne=Adam", &["Heidloff", "Suedbroecker", "Airom"]),
    ] {
        for limit in ["", "&limit=1", "&limit=3", "&limit=1&consistency=strong"] {
            assert_eq!(names(&api, &format!("/persons?{query}{limit}")).await, expected, "{query}{limit}");
        }
    }
}

#[tokio::test]
async fn an_order_or_a_range_without_an_index_is_refused_with_its_fields() {
    let api = Api::leader();
    for (query, fields) in [
        ("sort=lastName", &["/lastName"][..]),
        ("sort=-lastName,-firstName", &["/lastName", "/firstName"]),
        ("where.lastName.gte=A", &["/lastName"]),
        ("where.lastName.prefix=A&where.firstName=Adam", &["/firstName", "/lastName"]),
        ("count=true&where.lastName=Airom", &["/lastName"]),
        ("count=true&lastName=Airom&limit=1", &["/lastName"]),
    ] {
        let body = problem(&api.get(&format!("/persons?{query}")).await, Code::NoIndex);
        assert_eq!(body["fields"], serde_json::json!(fields), "{query}");
    }
    for query in ["where.id=5", "where.id.prefix=x", "where.a.exists=1", "sort=a,-b", "count=1", "where=1"] {
        let body = problem(&api.get(&format!("/persons?{query}")).await, Code::InvalidQuery);
        assert_eq!(body["parameter"], query.split('=').next().unwrap(), "{query}");
    }
}

#[tokio::test]
async fn the_count_is_of_the_whole_list_and_the_next_page_does_not_count_again() {
    let api = Api::leader();
    for (query, count) in [
        ("count=true", Some("4")),
        ("count=true&limit=1", Some("4")),
        ("count=true&where.id.prefix=9&limit=1", Some("2")),
        ("count=true&sort=-id&limit=2", Some("4")),
        ("count=true&where.id.in=93115462-543c-4149-9b75-2b1a84bd326c", Some("1")),
        ("count=false&limit=1", None),
        ("limit=1", None),
    ] {
        let answer = api.get(&format!("/persons?{query}")).await;
        assert_eq!((answer.status(), header(&answer, "leasehold-count")), (StatusCode::OK, count), "{query}");
        assert!(header(&answer, "link").is_none_or(|link| !link.contains("count")), "{answer:?}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_list_is_said_to_be_stale() {
    let api = Api::leader();
    let plain = cursor(&api.get("/persons?limit=1").await);
    assert!(plain.starts_with("01"), "the plain list of persons keeps its cursors");
    let up = cursor(&api.get("/persons?limit=1&sort=id").await);
    let down = cursor(&api.get("/persons?limit=1&sort=-id").await);
    let filtered = cursor(&api.get("/persons?limit=1&where.id.prefix=9").await);
    let scanned = cursor(&api.get("/persons?limit=1&where.firstName.ne=x").await);
    let lists = [
        ("", &plain),
        ("&sort=id", &up),
        ("&sort=-id", &down),
        ("&where.id.prefix=9", &filtered),
        ("&where.firstName.ne=x", &scanned),
    ];
    for (query, own) in lists {
        for (_, cursor) in lists {
            let answer = api.get(&format!("/persons?limit=1{query}&cursor={cursor}")).await;
            if cursor == own {
                assert_eq!(answer.status(), StatusCode::OK, "{query}");
            } else {
                assert_eq!(problem(&answer, Code::StaleCursor)["parameter"], "cursor", "{query}");
            }
        }
        problem(&api.get(&format!("/persons?limit=1{query}&cursor={}0", own)).await, Code::InvalidQuery);
    }
}

#[tokio::test]
async fn writes_between_two_pages_of_an_order_move_no_other_record() {
    let api = Api::leader();
    let before = names(&api, "/persons?sort=id").await;
    let mut turn = 0;
    let seen = pages(&api, "/persons?sort=id&limit=1", async |api| {
        turn += 1;
        match turn {
            // The record at which the page ended is gone; another comes before it, and one behind.
            1 => drop(api.json("DELETE", "/persons/918b0da0-afda-4cbf-a370-0347a6ede98e", "").await),
            2 => {
                let first = r#"{"firstName":"A","lastName":"First","id":"00000000-0000-4000-8000-000000000000"}"#;
                assert_eq!(api.post(first).await.status(), StatusCode::CREATED);
                assert_eq!(api.post(JOHANNA).await.status(), StatusCode::CREATED);
            }
            _ => {}
        }
    })
    .await
    .concat();
    let seen: Vec<&str> = seen.iter().map(|record| record["lastName"].as_str().unwrap()).collect();
    assert_eq!(seen[..4], before[..]);
    assert_eq!(seen[4..], ["Koester"]);
}

#[tokio::test]
async fn a_page_that_looks_at_much_is_short_and_only_the_last_has_no_link() {
    let api = Api::starting();
    let record = |number: u32| {
        let last = if number.is_multiple_of(20_001) { "Rare" } else { "Frequent" };
        format!(r#"{{"firstName":"A","lastName":"{last}","id":"{}"}}"#, Uuid::from_u128(u128::from(number)))
    };
    let all: Vec<String> = (1..=25_000).map(record).collect();
    {
        let mut parts = api.lock();
        for chunk in all.chunks(1_000) {
            for command in person::initial_data(format!("[{}]", chunk.join(",")).as_bytes()).unwrap() {
                let position = Position::new(3, parts.documents.applied().seq.0 + 1);
                parts.documents.apply(position, &command, &mut Vec::new()).unwrap();
            }
        }
        let parts = &mut *parts;
        parts.server.set_documents(&parts.documents);
    }
    api.set_status(status(Phase::Leading, "pod-0"));
    let found = pages(&api, "/persons?where.lastName=Rare&limit=10", async |_| {}).await;
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1]);
    // Without a limit, too: a page is never longer than a thousand.
    let sorted = pages(&api, "/persons?sort=id", async |_| {}).await;
    assert_eq!((sorted.len(), sorted[0].len(), sorted.concat().len()), (25, 1_000, 25_000));
}
