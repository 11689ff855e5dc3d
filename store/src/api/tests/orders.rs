//! Lists of a collection that a client defined, with indexes.
use super::super::{percent, reads};
use super::*;
use leasehold_documents::{
    Action, Command, Condition, Define, DefinitionCondition, IdRef, On, Operation, Outcome, Work,
};
use serde_json::json;

const INDEXES: &str =
    r#"[{"fields":["/email"],"unique":true},{"fields":["/tenant",{"path":"/priority","type":"number"}]}]"#;

struct Orders(Api);

impl Orders {
    fn new() -> Orders {
        let orders = Orders(Api::leader());
        assert_eq!(orders.define(INDEXES), Outcome::Defined { created: true });
        for (id, record) in [
            ("a", json!({"tenant": "acme", "priority": 2, "email": "a@x"})),
            ("b", json!({"tenant": "acme", "priority": 10, "address": {"city": "Bonn"}})),
            ("c", json!({"tenant": "acme", "priority": "high", "email": "c@x"})),
            ("d", json!({"tenant": "acme", "priority": 2.0, "zip": "01234"})),
            ("e", json!({"tenant": "umbrella", "priority": -1, "zip": 1234})),
            ("f 1", json!({"priority": 5})),
        ] {
            assert_eq!(orders.put(id, record), Outcome::Created);
        }
        orders
    }

    fn run(&self, work: Work<'_>) -> Outcome {
        self.0.lock().apply(&Command::new(work).encode(2)).answer.outcome
    }

    fn define(&self, indexes: &str) -> Outcome {
        let definition = format!(r#"{{"id":"string","indexes":{indexes}}}"#);
        let condition = DefinitionCondition::None;
        self.run(Work::Define(Define {
            collection: "orders",
            definition: &definition,
            condition,
            unless_expired_ms: None,
        }))
    }

    fn on(&self) -> On<'static> {
        let documents = self.0.handle.documents();
        On { collection: "orders", epoch: documents.collection("orders").and_then(|orders| orders.epoch()) }
    }

    fn put(&self, id: &str, mut record: Value) -> Outcome {
        record["id"] = json!(id);
        let record = record.to_string();
        self.run(Work::One(
            self.on(),
            Operation::new(IdRef::Text(id), Action::Put { record: &record }, Condition::None),
        ))
    }

    async fn get(&self, query: &str) -> Response<Bytes> {
        let context = self.0.calls.context();
        let query = percent::query(query).unwrap();
        let answer = context.finish(reads::list(context, "orders", query).await);
        let (head, body) = answer.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    /// The ids of all pages, in one word.
    async fn ids(&self, query: &str) -> String {
        let (mut ids, mut next) = (String::new(), Some(query.to_owned()));
        while let Some(query) = next {
            let page = self.get(&query).await;
            assert_eq!(page.status(), StatusCode::OK, "{query}: {page:?}");
            for record in value(&page).as_array().unwrap() {
                ids.push_str(&record["id"].as_str().unwrap()[..1]);
            }
            next = header(&page, "link").map(|link| link.split(['?', '>']).nth(1).unwrap().to_owned());
        }
        ids
    }
}

fn cursor(answer: &Response<Bytes>) -> String {
    let link = header(answer, "link").expect("there is a next page");
    link.split("cursor=").nth(1).unwrap().split('>').next().unwrap().to_owned()
}

#[tokio::test]
async fn an_index_serves_equal_fields_then_a_range_or_an_order() {
    let orders = Orders::new();
    for (query, expected) in [
        ("", "abcdef"),
        ("where.tenant=acme&sort=priority", "adbc"),
        ("where.tenant=acme&sort=-priority", "cbda"),
        ("sort=tenant,priority", "adbcef"),
        ("sort=-tenant,-priority", "fecbda"),
        ("where.tenant=acme&where.priority.gte=2.00", "adb"),
        ("where.tenant=acme&where.priority.gt=2&where.priority.lt=1e3", "b"),
        ("where.tenant=acme&where.priority.gte=2&where.zip=01234", "d"),
        ("where.tenant.in=umbrella&where.tenant.in=acme", "adbce"),
        ("where.tenant.prefix=u", "e"),
        ("where.email=c@x", "c"),
        ("where.email.exists=false", "bdef"),
        ("where.address.city=Bonn", "b"),
        ("where.zip=1234", "e"),
        ("where.id.in=e&where.id.in=a&where.id.in=zz", "ae"),
        ("where.id=f+1", "f"),
    ] {
        for limit in ["", "&limit=1", "&limit=4"] {
            assert_eq!(orders.ids(&format!("{query}{limit}")).await, expected, "{query}{limit}");
        }
    }
    let counted = orders.get("count=true&where.tenant=acme&where.priority.gte=2&limit=1").await;
    assert_eq!(header(&counted, "leasehold-count"), Some("3"));
    let body = problem(&orders.get("count=true&where.tenant=acme&where.zip=1").await, Code::NoIndex);
    assert_eq!(body["fields"], json!(["/tenant", "/zip"]));
    let body = problem(&orders.get("where.tenant=acme&where.priority.gte=high").await, Code::InvalidQuery);
    assert_eq!(body["parameter"], "where.priority.gte");
    let body = problem(&orders.get("firstName=A").await, Code::InvalidQuery);
    assert_eq!(body["parameter"], "firstName");
}

#[tokio::test]
async fn an_index_is_used_when_it_is_complete_and_not_before() {
    let orders = Orders::new();
    let more = INDEXES.replace(r#"[{"#, r#"[{"fields":["/zip"]},{"#);
    assert_eq!(orders.define(&more), Outcome::Pending);
    assert_eq!(problem(&orders.get("sort=zip").await, Code::NoIndex)["fields"], json!(["/zip"]));
    assert_eq!(orders.run(Work::Advance { on: orders.on(), upto: 6 }), Outcome::Stepped);
    assert_eq!(orders.ids("sort=zip").await, "dabcef");
}

#[tokio::test]
async fn a_cursor_is_stale_in_another_collection_of_that_name_but_not_after_a_change_of_another_index() {
    let orders = Orders::new();
    let sorted =
        format!("sort=tenant,priority&limit=1&cursor={}", cursor(&orders.get("sort=tenant,priority&limit=1").await));
    let plain = format!("limit=1&cursor={}", cursor(&orders.get("limit=1").await));
    for query in [&sorted, &plain] {
        assert_eq!(orders.get(query).await.status(), StatusCode::OK);
    }
    problem(&orders.get(&sorted.replace("tenant,priority", "id")).await, Code::StaleCursor);
    let without = INDEXES.replace(r#"{"fields":["/email"],"unique":true},"#, "");
    assert_eq!(orders.define(&without), Outcome::Defined { created: false });
    for query in [&sorted, &plain] {
        assert_eq!(orders.get(query).await.status(), StatusCode::OK);
    }
    let condition = DefinitionCondition::None;
    let dropped = orders.run(Work::Drop { collection: "orders", condition, with_records: true });
    assert_eq!(dropped, Outcome::Dropped);
    assert_eq!(orders.define(INDEXES), Outcome::Defined { created: true });
    for query in [&sorted, &plain] {
        problem(&orders.get(query).await, Code::StaleCursor);
    }
}

#[tokio::test]
async fn that_there_is_no_collection_is_said_only_by_data_as_fresh_as_asked() {
    let api = Api::leader();
    let context = api.calls.context();
    let ask = async |query: &str| {
        let answer = context.finish(reads::list(context, "orders", percent::query(query).unwrap()).await);
        let (head, body) = answer.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    };
    problem(&ask("").await, Code::UnknownCollection);
    problem(&ask("after=4&consistency=strong").await, Code::UnknownCollection);
    problem(&ask("after=99").await, Code::Ahead);
    api.lock().confirms = Some(Err(Refusal::NoMajority));
    problem(&ask("consistency=strong").await, Code::NoMajority);
}

#[tokio::test]
async fn persons_keep_their_plain_list_and_its_cursors_in_format_2() {
    let orders = Orders::new();
    let api = &orders.0;
    assert_eq!(api.handle.documents().format(), 2);
    let plain = api.get("/persons?limit=1").await;
    assert!(cursor(&plain).starts_with("01"), "{plain:?}");
    assert_eq!(value(&api.get("/persons?lastName=Airom").await).as_array().unwrap().len(), 1);
    assert_eq!(value(&api.get("/persons?sort=-id&lastName=Airom").await).as_array().unwrap().len(), 1);
    let rest = value(&api.get(&format!("/persons?cursor={}", cursor(&plain))).await);
    assert_eq!(rest.as_array().unwrap().len(), 3);
}
