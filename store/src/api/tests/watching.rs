//! Watching any collection, and all of them.
use super::*;
use crate::api::PARTIAL;
use crate::api::rights::Rights;
use crate::history::Mark;
use leasehold_documents::{Action, Command, Condition, Define, DefinitionCondition, IdRef, On, Operation, Work};
use warp::http::HeaderMap;

/// The time of every command that these tests make.
const TIME_MS: u64 = 1_709_251_200_000;
const TIME: &str = "2024-03-01T00:00:00.000Z";
const CLUSTER: &str = "00000000-0000-0000-0000-000000000009";

impl Api {
    /// A leader with the four persons, and with the collections `orders` and `users`: up to entry 6.
    fn with_collections() -> Api {
        let api = Api::leader();
        for collection in ["orders", "users"] {
            api.define(collection);
        }
        api
    }

    fn does(&self, work: Work<'_>) {
        let command = Command { time_ms: TIME_MS, ..Command::new(work) }.encode(2);
        let done = self.lock().apply(&command);
        assert!(done.answer.outcome.is_done(), "{:?}", done.answer);
    }

    fn define(&self, collection: &str) {
        let condition = DefinitionCondition::None;
        let definition = r#"{"id":"string"}"#;
        self.does(Work::Define(Define { collection, definition, condition, unless_expired_ms: None }));
    }

    fn drops(&self, collection: &str) {
        self.does(Work::Drop { collection, condition: DefinitionCondition::None, with_records: true });
    }

    fn put(&self, collection: &str, id: &str) {
        let record = format!(r#"{{"id":"{id}"}}"#);
        let epoch = self.lock().documents.collection(collection).unwrap().epoch().unwrap();
        let operation = Operation::new(IdRef::Text(id), Action::Put { record: &record }, Condition::None);
        self.does(Work::One(On::at(collection, epoch), operation));
    }

    fn mark(&self) -> Mark {
        Mark::of(&self.lock().documents)
    }
}

fn query(text: &str) -> Vec<(String, String)> {
    percent::query(text).unwrap()
}

async fn refused(api: &Api, collection: Option<&str>, text: &str) -> (Code, Value) {
    let problem =
        watch::watch(api.calls.context(), &rights::ALL, collection, &HeaderMap::new(), query(text)).await.unwrap_err();
    (problem.code(), problem.to_value())
}

/// All that a watch says, until the replica drains: of each event its kind, its id and its data. The end is the last one.
async fn watched(
    api: &Api,
    collection: Option<&str>,
    text: &str,
    meanwhile: impl AsyncFn(),
) -> Vec<(String, Option<u64>, Value)> {
    watched_by(&rights::ALL, api, collection, text, meanwhile).await
}

/// The same with these rights.
async fn watched_by(
    rights: &Rights,
    api: &Api,
    collection: Option<&str>,
    text: &str,
    meanwhile: impl AsyncFn(),
) -> Vec<(String, Option<u64>, Value)> {
    let watching = async {
        let (context, headers) = (api.calls.context(), HeaderMap::new());
        let watch = watch::watch(context, rights, collection, &headers, query(text)).await;
        watch.unwrap().into_body().collect().await.unwrap().to_bytes()
    };
    let drain = async {
        tokio::task::yield_now().await;
        meanwhile().await;
        api.set_status(status(Phase::Draining, "pod-0"));
    };
    let (body, ()) = tokio::join!(watching, drain);
    api.set_status(status(Phase::Leading, "pod-0"));
    let one = |event: &str| {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = serde_json::from_str(&field("data: ")?).unwrap();
        Some((field("event: ").unwrap_or_default(), field("id: ").map(|id| id.parse().unwrap()), data))
    };
    std::str::from_utf8(&body).unwrap().split("\n\n").filter_map(one).collect()
}

#[tokio::test]
async fn a_watch_of_a_collection_sends_nothing_for_the_commits_of_others() {
    let api = Api::with_collections();
    let seen = watched(&api, Some("orders"), "after=0", async || {
        api.put("orders", "a");
        api.put("users", "a");
        api.put("orders", "b");
        api.put("orders", "ab");
    })
    .await;
    let told: Vec<(Option<u64>, &Value)> = seen.iter().map(|(_, id, data)| (*id, &data["changes"][0]["id"])).collect();
    assert_eq!(told, [(Some(7), &"a".into()), (Some(9), &"b".into()), (Some(10), &"ab".into()), (None, &Value::Null)]);
    assert_eq!((&seen[3].0[..], &seen[3].2["after"]), ("end", &10.into()));
    let seen = watched(&api, Some("orders"), "after=0&where.id.prefix=a", async || {}).await;
    assert_eq!(seen.iter().map(|(_, id, _)| *id).collect::<Vec<_>>(), [Some(7), Some(10), None]);
}

#[tokio::test]
async fn a_watch_of_all_begins_with_a_bookmark_and_each_hash_is_that_of_the_data_then() {
    let api = Api::with_collections();
    let begin = api.mark();
    let marks = Mutex::new(Vec::new());
    let seen = watched(&api, None, "", async || {
        for (collection, id) in [("orders", "a"), ("users", "b")] {
            api.put(collection, id);
            marks.lock().unwrap().push(api.mark());
        }
    })
    .await;
    let hash = |sum: leasehold_replication::Sum| Value::from(sum.to_string());
    let (kind, id, said) = &seen[0];
    assert_eq!((&kind[..], *id, &said["clusterId"]), ("bookmark", Some(6), &CLUSTER.into()));
    assert_eq!((&said["sequence"], &said["time"]), (&6.into(), &TIME.into()));
    assert_eq!((&said["hash"], &said["keysHash"]), (&hash(begin.data), &hash(begin.keys)));
    assert_eq!(said["leads"], true, "{said}");
    let marks = marks.into_inner().unwrap();
    assert_eq!((seen.len(), marks.len()), (4, 2), "{seen:?}");
    for ((_, id, said), mark) in seen[1..3].iter().zip(&marks) {
        assert_eq!((*id, &said["hash"], &said["time"]), (Some(mark.seq.0), &hash(mark.data), &TIME.into()), "{said}");
        assert_eq!(said["changes"][0]["number"], 1, "{said}");
    }
    assert_ne!(marks[0].data, marks[1].data);
    assert_eq!(
        [1, 2].map(|at| &seen[at].2["changes"][0]["collection"]),
        [&"orders".into(), &"users".into()] as [&Value; 2]
    );
}

/// Each piece is a write to the socket, which costs more than the text.
#[tokio::test]
async fn what_many_entries_changed_arrives_in_few_pieces() {
    let api = Api::with_collections();
    (0..200).for_each(|number| api.put("orders", &format!("order-{number}")));
    let (context, headers) = (api.calls.context(), HeaderMap::new());
    let watch = watch::watch(context, &rights::ALL, Some("orders"), &headers, query("after=6")).await;
    let mut body = watch.unwrap().into_body();
    let (mut pieces, mut text) = (0, String::new());
    while !text.contains("order-199") {
        let frame = body.frame().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        pieces += 1;
    }
    let ids: Vec<u64> = text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
    assert_eq!(ids, (6..=206).collect::<Vec<u64>>());
    assert!(pieces <= 10, "{pieces} pieces");
}

#[tokio::test]
async fn a_bookmark_of_a_pod_that_follows_says_so() {
    let api = Api::with_collections();
    api.set_status(status(Phase::Follower, "pod-1"));
    let seen = watched(&api, None, "", async || {}).await;
    assert_eq!((&seen[0].0[..], &seen[0].2["leads"]), ("bookmark", &false.into()), "{seen:?}");
}

#[tokio::test]
async fn a_watch_of_all_tells_what_is_defined_and_dropped() {
    let api = Api::leader();
    let seen = watched(&api, None, "after=0", async || {
        api.define("orders");
        api.drops("orders");
        api.define("orders");
    })
    .await;
    let told: Vec<(u64, &str, &str, &Value)> = seen
        .iter()
        .filter(|(_, _, data)| data["definition"].is_object())
        .map(|(_, _, data)| {
            let of = |name: &str| data["definition"][name].as_str().unwrap();
            (data["sequence"].as_u64().unwrap(), of("name"), of("change"), &data["definition"]["created"])
        })
        .filter(|(_, name, ..)| *name == "orders")
        .collect();
    let (five, seven) = (&5.into(), &7.into());
    let expected = [(5, "orders", "defined", five), (6, "orders", "dropped", five), (7, "orders", "defined", seven)];
    assert_eq!(told, expected, "{seen:?}");
    assert_eq!(seen.last().unwrap().2["reason"], "draining", "it names no collection, and goes on");
}

#[tokio::test]
async fn a_watch_that_names_a_collection_ends_when_that_is_dropped() {
    for (collection, text) in [(Some("orders"), "after=6"), (None, "after=6&collections=users,orders")] {
        let api = Api::with_collections();
        let seen = watched(&api, collection, text, async || {
            api.put("orders", "a");
            api.drops("orders");
            api.define("orders");
            api.put("orders", "b");
            // It ends by itself, before the drain.
            until_ended(&api).await;
        })
        .await;
        let (kind, _, end) = seen.last().unwrap();
        assert_eq!((&kind[..], &end["reason"], &end["after"]), ("end", &"dropped".into(), &8.into()), "{seen:?}");
        let is_later = |(_, id, _): &(String, Option<u64>, Value)| id.is_some_and(|id| id > 8);
        assert!(!seen.iter().any(is_later), "{seen:?}");
    }
}

async fn until_ended(api: &Api) {
    leasehold_testkit::until("nobody watches", || api.handle.history().watchers() == 0).await;
}

#[tokio::test]
async fn what_is_no_collection_cannot_be_watched_and_persons_always_can() {
    let api = Api::leader();
    let (code, body) = refused(&api, Some("orders"), "").await;
    assert_eq!((code, &body["status"]), (Code::UnknownCollection, &404.into()), "{body}");
    // A client that has seen its definition is ahead of this replica.
    assert_eq!(refused(&api, Some("orders"), "after=5").await.0, Code::Ahead);
    let empty = Api::starting();
    empty.set_status(status(Phase::Leading, "pod-0"));
    assert_eq!(watched(&empty, Some("persons"), "", async || {}).await.len(), 1);
}

#[tokio::test]
async fn a_sequence_of_another_cluster_is_refused_with_the_id_of_this_one() {
    let api = Api::leader();
    let other = "00000000-0000-0000-0000-00000000000a";
    for collection in [Some("persons"), None] {
        let (code, body) = refused(&api, collection, &format!("after=2&cluster={other}")).await;
        assert_eq!((code, &body["status"], &body["clusterId"]), (Code::OtherCluster, &409.into(), &CLUSTER.into()));
        let seen = watched(&api, collection, &format!("after=4&cluster={CLUSTER}"), async || {}).await;
        assert_eq!(seen.last().unwrap().2["reason"], "draining", "{seen:?}");
        let (code, body) = refused(&api, collection, &format!("after=50000&cluster={CLUSTER}")).await;
        assert_eq!((code, &body["committed"]), (Code::Ahead, &4.into()));
    }
}

fn rights_of(files: &[&str]) -> Rights {
    let mut rights = Rights::default();
    files.iter().for_each(|file| rights.add(file).unwrap());
    rights
}

#[tokio::test]
async fn a_watch_of_all_shows_what_may_be_read_and_goes_on_when_that_is_dropped() {
    let api = Api::with_collections();
    let seen = watched_by(&rights_of(&["read.orders"]), &api, None, "after=4", async || {
        api.put("users", "hidden");
        api.put("orders", "shown");
        api.drops("orders");
        api.define("orders");
        api.drops("users");
        api.put("orders", "again");
    })
    .await;
    let told: Vec<(Option<u64>, String)> = seen
        .iter()
        .filter(|(kind, ..)| kind.is_empty())
        .map(|(_, id, data)| {
            let definition = data["definition"]["name"].as_str();
            (*id, definition.or(data["changes"][0]["id"].as_str()).unwrap().to_owned())
        })
        .collect();
    let expected = [(5, "orders"), (8, "shown"), (9, "orders"), (10, "orders"), (12, "again")];
    assert_eq!(told, expected.map(|(id, what)| (Some(id), what.to_owned())), "{seen:?}");
    let (kind, _, end) = seen.last().unwrap();
    assert_eq!((&kind[..], &end["reason"], &end["after"]), ("end", &"draining".into(), &12.into()));
    assert!(!format!("{seen:?}").contains("hidden"));
    let whole = watched_by(&rights_of(&["backup"]), &api, None, "after=4", async || {}).await;
    assert!(format!("{whole:?}").contains("hidden"), "a backup has all");
}

#[tokio::test]
async fn a_watch_of_all_says_that_it_does_not_show_all() {
    for (files, text, is_partial) in [
        (&["read.orders"][..], "", true),
        (&["write.orders", "read.users"], "", true),
        (&["read.orders"], "collections=orders", false),
        (&["read.orders", "backup"], "", false),
        (&["read"], "", false),
    ] {
        // Of its own: a watcher's place is free again some time after its answer was dropped.
        let api = Api::with_collections();
        let (context, headers) = (api.calls.context(), HeaderMap::new());
        let answer = watch::watch(context, &rights_of(files), None, &headers, query(text)).await.unwrap();
        assert_eq!(answer.headers().get(PARTIAL).is_some(), is_partial, "{files:?} {text}");
    }
}

#[tokio::test]
async fn a_watch_that_names_what_may_not_be_read_is_refused_whether_it_exists_or_not() {
    let api = Api::with_collections();
    let mut bodies = Vec::new();
    for other in ["users", "parts"] {
        let (rights, text) = (rights_of(&["write.orders"]), format!("collections=orders,{other}"));
        let (context, headers) = (api.calls.context(), HeaderMap::new());
        let refused = watch::watch(context, &rights, None, &headers, query(&text)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Forbidden);
        bodies.push(refused.to_value().to_string().replace(other, "it"));
    }
    assert_eq!(bodies[0], bodies[1]);
    let named = watched_by(&rights_of(&["read.orders"]), &api, None, "after=4&collections=orders", async || {}).await;
    assert_eq!(named[1].2["definition"]["name"], "orders", "{named:?}");
}
