//! Collections of our store: a schema, two indexes and one more that is unique.
//!
//! ```text
//!   collections-writes-64     64 clients write orders; the same clients persons, and etcd what it has, in the same round
//!   one filling (up to a million orders, without an index at first)
//!     ──▶ collections-memory: a record, without and with indexes
//!     ──▶ collections-build: three indexes are built while 16 clients write; the longest of their writes, and that before
//!     ──▶ collections-where (a unique number), -range, -sorted: 16 clients over all nodes
//!     ──▶ collections-scan: a filter that no index serves, page by page to the end
//! ```

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use http::Method;
use leasehold_e2e::client::Http;
use leasehold_testkit::ask_until;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    generator,
    job::{Operation, Protocol, Records},
    load::link::{Ask, Link},
    machine::Look,
    place::LOOK,
    record,
    run::Run,
    sample::Figure,
    serve::job,
    system::{Kind, System},
};

const WRITES: &str = "collections-writes-64";
const MEMORY: &str = "collections-memory";
const BUILD: &str = "collections-build";
const SCAN: &str = "collections-scan";
const QUERIES: [(&str, Operation); 3] = [
    ("collections-where", Operation::Where),
    ("collections-range", Operation::Range),
    ("collections-sorted", Operation::Sorted),
];
/// How our store is called where what it writes are persons.
const PERSONS: &str = "Leasehold, persons";
/// Clients that write while indexes are built, and clients that query.
const CLIENTS: usize = 16;
/// A step of the harness; a build may take that long, too.
const PATIENCE: Duration = Duration::from_secs(900);
const ANSWER: Duration = Duration::from_secs(30);

pub(super) fn names() -> Vec<&'static str> {
    [&[WRITES, MEMORY, BUILD, SCAN][..], &QUERIES.map(|(name, _)| name)].concat()
}

/// Round by round: the writes of all systems, then ours with many records.
pub(super) async fn run(run: &mut Run) -> anyhow::Result<()> {
    if run.wants(WRITES) {
        for round in 0..run.settings.rounds {
            for kind in run.order(round) {
                let outcome = match kind {
                    Kind::Leasehold => our_writes(run, round).await,
                    Kind::Etcd => writes(run, kind, round).await,
                    Kind::Redis | Kind::RedisWait | Kind::Floor => continue,
                };
                run.skip_rest(WRITES, kind, round, outcome);
            }
        }
    }
    let is_much_wanted = names().into_iter().any(|name| name != WRITES && run.wants(name));
    if is_much_wanted && run.systems.contains(&Kind::Leasehold) {
        for round in 0..run.settings.growth_rounds {
            let outcome = much(run, round).await;
            run.skip_rest("collections", Kind::Leasehold, round, outcome);
        }
    }
    Ok(())
}

fn definition(with_indexes: bool) -> Value {
    let by_priority = json!({"path": "/priority", "type": "number"});
    let indexes = json!([
        {"fields": ["/tenant", by_priority]},
        {"fields": [by_priority]},
        {"fields": ["/number"], "unique": true},
    ]);
    json!({
        "id": "uuid",
        "schema": {
            "type": "object",
            "required": ["tenant", "priority", "number"],
            "properties": {
                "tenant": {"type": "string", "pattern": "^t[0-9]+$"},
                "priority": {"type": "integer", "minimum": 0},
                "number": {"type": "string", "minLength": 16, "maxLength": 16},
            },
        },
        "indexes": if with_indexes { indexes } else { json!([]) },
    })
}

const FIGURES: [Figure; 5] =
    [Figure::PerSecond, Figure::P50Ms, Figure::P99Ms, Figure::ServerCpuUs, Figure::GeneratorPercent];

/// Orders and persons in turn, by the same clients at the same cluster; which is first changes from round to round.
async fn our_writes(run: &mut Run, round: u32) -> anyhow::Result<()> {
    let system = System::start(Kind::Leasehold, &run.peers, 0).await?;
    define(&system, true).await?;
    let mut both = [(Records::Orders, Kind::Leasehold.name()), (Records::Persons, PERSONS)];
    both.rotate_left(round as usize % 2);
    for (of, name) in both {
        write_load(run, &system, name, of, round).await?;
    }
    Ok(())
}

async fn writes(run: &mut Run, kind: Kind, round: u32) -> anyhow::Result<()> {
    let system = System::start(kind, &run.peers, 0).await?;
    write_load(run, &system, kind.name(), Records::Persons, round).await
}

async fn write_load(run: &mut Run, system: &System, name: &str, of: Records, round: u32) -> anyhow::Result<()> {
    let mut job = job(run, Operation::Write, system, system.leader().await?);
    (job.clients, job.of) = (64, of);
    (job.seconds, job.warm_up) = (run.settings.seconds, run.settings.warm_up);
    run.try_measure_as(system, name, WRITES, round, &job, &FIGURES).await;
    Ok(())
}

/// All that is about many records, on one cluster.
async fn much(run: &mut Run, round: u32) -> anyhow::Result<()> {
    let system = System::start(Kind::Leasehold, &run.peers, 0).await?;
    let ours = Kind::Leasehold.name();
    define(&system, false).await?;
    let few = 1_000.min(run.settings.records);
    fill(run, &system, 0, few).await?;
    let small_bytes = system.resident_bytes();
    let most = run.settings.records;
    fill(run, &system, few, most).await?;
    #[allow(clippy::cast_precision_loss)]
    let each = |system: &System, count: u64| (system.resident_bytes() - small_bytes) / (count - few).max(1) as f64;
    let look = Look::now();
    if run.wants(MEMORY) {
        let plain = each(&system, most);
        run.note_value(&format!("{MEMORY}-plain-{most}"), ours, Figure::BytesPerRecord, round, plain, look);
    }
    let built = build(&system, Duration::from_secs_f64(run.settings.seconds.max(1.0))).await?;
    if run.wants(BUILD) {
        let (took, writes) = (built.took.as_secs_f64() * 1e3, format!("{} writes", built.during.count));
        run.note_remark(&format!("{BUILD}-{most}"), ours, Figure::Ms, round, took, look, writes);
        for (when, writes) in [("before", &built.before), ("during", &built.during)] {
            let name = format!("{BUILD}-longest-write-{when}");
            run.note_remark(&name, ours, Figure::Ms, round, writes.longest_ms, look, writes.words());
        }
    }
    system.settle().await?;
    if run.wants(MEMORY) {
        let count = described(&system).await?["count"].as_u64().context("no count of records")?;
        let indexed = each(&system, count);
        run.note_value(&format!("{MEMORY}-indexed-{most}"), ours, Figure::BytesPerRecord, round, indexed, look);
    }
    for (name, operation) in QUERIES {
        if run.wants(name) {
            let mut job = job(run, operation, &system, system.leader().await?);
            (job.clients, job.records, job.of) = (CLIENTS, most, Records::Orders);
            (job.seconds, job.warm_up) = (run.settings.seconds, run.settings.warm_up);
            run.try_measure(&system, &format!("{name}-{most}"), round, &job, &FIGURES).await;
        }
    }
    if run.wants(SCAN) {
        let look = Look::now();
        let Scanned { took, pages, slowest } = scan(&system).await?;
        let remark = format!("{pages} pages, the slowest {:.1} ms", slowest.as_secs_f64() * 1e3);
        run.note_remark(&format!("{SCAN}-{most}"), ours, Figure::Ms, round, took.as_secs_f64() * 1e3, look, remark);
    }
    Ok(())
}

async fn fill(run: &Run, system: &System, from: u64, to: u64) -> anyhow::Result<()> {
    if from < to {
        let mut job = job(run, Operation::Fill, system, system.leader().await?);
        (job.of, job.clients, job.has_batch, job.from, job.records) = (Records::Orders, 8, true, from, to);
        generator::carry_out(&run.peers, &job).await?;
        system.settle().await?;
    }
    Ok(())
}

async fn leader_of(system: &System) -> anyhow::Result<SocketAddr> {
    Ok(system.nodes()[system.leader().await?])
}

/// Once the format of collections is in force. The answer is 202 while records are examined.
async fn define(system: &System, with_indexes: bool) -> anyhow::Result<()> {
    let (http, definition) = (Http::default(), definition(with_indexes));
    ask_until("the collection is defined", PATIENCE, LOOK, || async {
        let node = leader_of(system).await?;
        let answer = http.send(Method::PUT, node, "/api/collections/orders", Some(&definition), ANSWER).await?;
        ensure!([200, 201, 202].contains(&answer.status), "{}: {}", answer.status, answer.text());
        Ok(())
    })
    .await
}

async fn described(system: &System) -> anyhow::Result<Value> {
    Http::default().get_json(leader_of(system).await?, "/api/collections/orders").await
}

struct Built {
    took: Duration,
    before: Writes,
    during: Writes,
}

/// What became of the writes of a while.
struct Writes {
    count: u64,
    p99_ms: f64,
    longest_ms: f64,
}

impl Writes {
    #[allow(clippy::cast_precision_loss)]
    fn of(took_us: &Histogram<u64>) -> Writes {
        let ms = |us: u64| us as f64 / 1e3;
        let p99_ms = ms(took_us.value_at_quantile(0.99));
        Writes { count: took_us.len(), p99_ms, longest_ms: ms(took_us.max()) }
    }

    fn words(&self) -> String {
        format!("{} writes, p99 {:.1} ms", self.count, self.p99_ms)
    }
}

/// The indexes are built, after a while of writes without that.
async fn build(system: &System, quiet: Duration) -> anyhow::Result<Built> {
    let node = leader_of(system).await?;
    let (_, before) = beside_writes(node, tokio::time::sleep(quiet)).await?;
    let (took, during) = beside_writes(node, async {
        let begin = Instant::now();
        define(system, true).await?;
        ask_until("the indexes are in force", PATIENCE, LOOK, || async {
            let found = described(system).await?;
            let indexes = found["indexes"].as_array().map_or(0, Vec::len);
            ensure!(found["state"] == "ready" && indexes == 3, "{found}");
            Ok(())
        })
        .await?;
        Ok::<_, anyhow::Error>(begin.elapsed())
    })
    .await?;
    Ok(Built { took: took?, before, during })
}

/// New orders at this node, as fast as it acknowledges them, as long as something else takes.
async fn beside_writes<T>(node: SocketAddr, other: impl Future<Output = T>) -> anyhow::Result<(T, Writes)> {
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            tokio::spawn(async move {
                let mut took_us = Histogram::<u64>::new(3)?;
                let mut link = Link::open(Protocol::Http, Records::Orders, node).await?;
                while !is_over.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    link.carry_out(&Ask::Write(Uuid::new_v4()), record::BYTES).await?;
                    took_us.record(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX))?;
                }
                Ok::<_, anyhow::Error>(took_us)
            })
        })
        .collect();
    let done = other.await;
    is_over.store(true, Ordering::Relaxed);
    let mut all = Histogram::<u64>::new(3)?;
    for client in clients {
        all.add(client.await?.context("a write beside it failed")?)?;
    }
    Ok((done, Writes::of(&all)))
}

struct Scanned {
    took: Duration,
    pages: u32,
    slowest: Duration,
}

/// At a follower, as a program would that exports something.
async fn scan(system: &System) -> anyhow::Result<Scanned> {
    let (http, nodes) = (Http::default(), system.nodes());
    let node = nodes[(system.leader().await? + 1) % nodes.len()];
    let (begin, mut pages, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    let mut next = Some("/orders?where.note=none".to_owned());
    while let Some(path) = next {
        let asked = Instant::now();
        let answer = http.send(Method::GET, node, &path, None, ANSWER).await?;
        ensure!(answer.status == 200, "{path}: {}: {}", answer.status, answer.text());
        slowest = slowest.max(asked.elapsed());
        pages += 1;
        next = answer.headers.get("link").and_then(|link| next_of(link.to_str().ok()?));
    }
    Ok(Scanned { took: begin.elapsed(), pages, slowest })
}

/// The path of `<…>; rel="next"`.
fn next_of(link: &str) -> Option<String> {
    let next = link.split(',').find(|one| one.contains("rel=\"next\""))?;
    let url = next.split_once('<')?.1.split_once('>')?.0;
    let path = url.split_once("://").map_or(Some(url), |(_, rest)| rest.find('/').map(|at| &rest[at..]));
    path.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::next_of;

    #[test]
    fn the_next_page_is_named_by_its_path() {
        for link in
            [r#"</orders?cursor=02&limit=1>; rel="next""#, r#"<http://a:1/orders?cursor=02&limit=1>; rel="next""#]
        {
            assert_eq!(next_of(link).as_deref(), Some("/orders?cursor=02&limit=1"));
        }
        assert_eq!(next_of(r#"</orders>; rel="first""#), None);
    }
}
