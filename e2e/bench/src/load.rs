//! `bench load`: the load generator, a process of its own so that its processor time is known and reported.
//!
//! ```text
//!   e2e bench ──job (JSON, argument)──▶ bench load ──▶ threads, each with its share of the clients ──▶ nodes
//!             ◀─outcome (JSON, stdout)─
//! ```
//!
//! A client is one connection with one request on its way. No work is stolen between the threads: a generator shares
//! the machine with what it measures, and should cost little. It ends when its standard input closes.

mod gap;
pub(super) mod link;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use uuid::Uuid;

use super::{
    job::{Job, Operation, Outcome, Quantiles},
    record,
};
use link::{Ask, Link};

/// Carries out the job in the argument.
///
/// # Errors
/// The job cannot be read, or nobody answers.
pub(crate) fn run(job: &str) -> anyhow::Result<()> {
    let job: Job = serde_json::from_str(job).context("the job")?;
    std::thread::spawn(|| {
        // Whatever is read, or whichever error occurs: the bench, or its interest, is over.
        let _ = std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new());
        std::process::exit(0);
    });
    if job.operation == Operation::Gap {
        return runtime()?.block_on(gap::run(&job));
    }
    let outcome = load(&job)?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// What a thread brings back.
struct Share {
    took: Histogram<u64>,
    outcome: Outcome,
}

fn load(job: &Job) -> anyhow::Result<Outcome> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(job.clients).max(1);
    let next = Arc::new(AtomicU64::new(job.from));
    let start = Instant::now();
    let window =
        (start + Duration::from_secs_f64(job.warm_up), start + Duration::from_secs_f64(job.warm_up + job.seconds));
    let running: Vec<_> = (0..threads)
        .map(|thread| {
            let (job, next) = (job.clone(), next.clone());
            std::thread::spawn(move || -> anyhow::Result<Share> {
                let local = tokio::task::LocalSet::new();
                let runtime = runtime()?;
                local.block_on(&runtime, async {
                    let clients = (thread..job.clients).step_by(threads);
                    let tasks: Vec<_> = clients
                        .map(|client| tokio::task::spawn_local(one_client(job.clone(), client, window, next.clone())))
                        .collect();
                    let mut share = Share { took: Histogram::new(3)?, outcome: Outcome::default() };
                    for task in tasks {
                        share.add(task.await??)?;
                    }
                    Ok(share)
                })
            })
        })
        .collect();
    let mut all = Share { took: Histogram::new(3)?, outcome: Outcome::default() };
    for thread in running {
        let share = thread.join().map_err(|_| anyhow::anyhow!("a thread of the load generator panicked"))?;
        all.add(share?)?;
    }
    let at = |quantile| all.took.value_at_quantile(quantile);
    let latency_us = Quantiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: all.took.max() };
    let seconds = if job.operation == Operation::Fill { start.elapsed().as_secs_f64() } else { job.seconds };
    Ok(Outcome { seconds, latency_us, cpu_seconds: cpu_seconds(), ..all.outcome })
}

impl Share {
    fn add(&mut self, other: Share) -> anyhow::Result<()> {
        self.took.add(other.took)?;
        let (all, more) = (&mut self.outcome, other.outcome);
        all.operations += more.operations;
        all.total_operations += more.total_operations;
        all.records += more.records;
        all.failed += more.failed;
        if all.first_failure.is_empty() {
            all.first_failure = more.first_failure;
        }
        Ok(())
    }
}

async fn one_client(
    job: Job,
    client: usize,
    (begin, end): (Instant, Instant),
    next: Arc<AtomicU64>,
) -> anyhow::Result<Share> {
    let mut share = Share { took: Histogram::new(3)?, outcome: Outcome::default() };
    let mut links = Links { job: &job, here: job.nodes[client % job.nodes.len()], read: None, write: None };
    let mut turn = client as u64;
    let mut at = client as u64 * 7_919;
    loop {
        turn += 1;
        // Primes, so that all records are met, and no two clients go in step.
        at = at.wrapping_add(104_729);
        let began = Instant::now();
        let (ask, is_write) = match job.operation {
            Operation::Fill => {
                let size =
                    if job.protocol == super::job::Protocol::Http && !job.has_batch { 1 } else { job.batch_size };
                let first = next.fetch_add(size as u64, Ordering::Relaxed);
                if first >= job.records {
                    return Ok(share);
                }
                let ids: Vec<Uuid> = (first..job.records.min(first + size as u64)).map(record::known_id).collect();
                (if ids.len() == 1 { Ask::Write(ids[0]) } else { Ask::Batch(ids) }, true)
            }
            _ if began >= end => return Ok(share),
            Operation::Mixed if turn % 20 != 19 => (Ask::Read(record::known_id(at % job.records)), false),
            Operation::Write | Operation::Mixed => (Ask::Write(Uuid::new_v4()), true),
            Operation::Read => (Ask::Read(record::known_id(at % job.records)), false),
            Operation::Strong => (Ask::Strong(record::known_id(at % job.records)), false),
            Operation::List => (Ask::List, false),
            Operation::Where | Operation::Range | Operation::Sorted => {
                let id = record::known_id(at % job.records);
                let (tenant, priority) = (record::tenant(id), record::priority(id));
                let query = match job.operation {
                    Operation::Where => format!("where.number={}", record::number(id)),
                    Operation::Range => {
                        format!("where.tenant=t{tenant:03}&where.priority.gte={priority}&limit=20")
                    }
                    _ => "sort=-priority&limit=100".to_owned(),
                };
                (Ask::Query(format!("/orders?{query}")), false)
            }
            Operation::Batch => (Ask::Batch((0..job.batch_size).map(|_| Uuid::new_v4()).collect()), true),
            Operation::Gap => bail!("gaps are not measured by clients that wait"),
        };
        match links.carry_out(&ask, is_write).await {
            Ok(records) => {
                share.outcome.total_operations += 1;
                let done = Instant::now();
                if job.operation == Operation::Fill || (began >= begin && done <= end) {
                    share.outcome.operations += 1;
                    share.outcome.records += records;
                    share.took.record(u64::try_from((done - began).as_micros()).unwrap_or(u64::MAX))?;
                }
            }
            Err(error) => {
                share.outcome.failed += 1;
                if share.outcome.first_failure.is_empty() {
                    share.outcome.first_failure = format!("{error:#}");
                }
                // A partial fill counts for nothing: what is requested later would not exist.
                if job.operation == Operation::Fill {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// A client's connections: to its own node for reads, to the leader for writes.
struct Links<'a> {
    job: &'a Job,
    here: SocketAddr,
    read: Option<Link>,
    write: Option<Link>,
}

impl Links<'_> {
    async fn carry_out(&mut self, ask: &Ask, is_write: bool) -> anyhow::Result<u64> {
        let (link, node) = match is_write {
            true => (&mut self.write, self.job.nodes[self.job.leader]),
            false => (&mut self.read, self.here),
        };
        if link.is_none() {
            *link = Some(Link::open(self.job.protocol, self.job.of, node).await?);
        }
        let Some(open) = link else { bail!("no connection") };
        let outcome = open.carry_out(ask, self.job.record_bytes).await;
        if outcome.is_err() {
            *link = None;
        }
        outcome
    }
}

/// What this process has used of the processors.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    super::machine::cpu_of_stat(&stat).unwrap_or(0.0)
}
