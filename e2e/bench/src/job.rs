//! A load generator's orders and reports. The generator of etcd is a program of its own (e2e/bench/peers), which reads and
//! writes the same JSON.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What is asked for, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Operation {
    /// A new record at the leader, acknowledged when it is durable.
    Write,
    /// One record by its id, at every node in turn, as stored there.
    Read,
    /// One record by its id at every node in turn, linearizable.
    Strong,
    /// 1,000 records, at every node in turn.
    List,
    /// 19 reads, then a write.
    Mixed,
    /// Many new records at once.
    Batch,
    /// One order by its unique number, at every node in turn.
    Where,
    /// 20 orders of one tenant from one priority on, at every node in turn.
    Range,
    /// The 100 orders of the highest priority, at every node in turn.
    Sorted,
    /// The records with the known ids `from..records`, as fast as it goes.
    Fill,
    /// A write at every node on every tick, whatever happened to the earlier ones: reports for how long none was
    /// acknowledged.
    Gap,
}

/// Which records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Records {
    /// Those that every system stores.
    #[default]
    Persons,
    /// Of our store's collection `orders` (`collections`).
    Orders,
}

/// How a system is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Protocol {
    /// HTTP: our store, and the rebuild of the one-file idea.
    Http,
    /// RESP: Redis. A write is a SET.
    Redis,
    /// RESP: Redis. A write is a SET, and `WAIT 1 0` in the same packet.
    RedisWait,
    /// gRPC: etcd, by the program in e2e/bench/peers.
    Etcd,
}

/// One job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    pub(super) protocol: Protocol,
    pub(super) operation: Operation,
    /// Over HTTP alone.
    pub(super) of: Records,
    /// All nodes.
    pub(super) nodes: Vec<SocketAddr>,
    /// Which of them leads: writes go there.
    pub(super) leader: usize,
    /// How many requests are on their way at once.
    pub(super) clients: usize,
    /// Over how many connections, where clients share them (gRPC).
    pub(super) connections: usize,
    /// How long it is measured.
    pub(super) seconds: f64,
    /// How long it runs before.
    pub(super) warm_up: f64,
    /// The known ids are those below.
    pub(super) records: u64,
    /// Where a fill starts.
    pub(super) from: u64,
    pub(super) record_bytes: usize,
    pub(super) batch_size: usize,
    /// From one write to the next of [`Operation::Gap`].
    pub(super) tick_ms: u64,
    /// Our store accepts `POST /persons:batch`.
    pub(super) has_batch: bool,
}

impl Job {
    pub(super) fn new(protocol: Protocol, operation: Operation, nodes: Vec<SocketAddr>, leader: usize) -> Job {
        Job {
            protocol,
            operation,
            of: Records::Persons,
            nodes,
            leader,
            clients: 1,
            connections: 1,
            seconds: 1.0,
            warm_up: 0.0,
            records: 1_000,
            from: 0,
            record_bytes: super::record::BYTES,
            batch_size: 100,
            tick_ms: 5,
            has_batch: false,
        }
    }
}

/// The results.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    /// Operations that began and ended in the measured time.
    pub(super) operations: u64,
    /// Those of the warm-up, too: what the servers' processor time is divided by.
    pub(super) total_operations: u64,
    /// Records that were read or written in the measured time.
    pub(super) records: u64,
    pub(super) failed: u64,
    pub(super) first_failure: String,
    /// The measured time.
    pub(super) seconds: f64,
    pub(super) latency_us: Quantiles,
    /// What the generator itself used of the processors.
    pub(super) cpu_seconds: f64,
}

/// In microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub(super) struct Quantiles {
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

/// The report of [`Operation::Gap`], one line each. Times are nanoseconds since 1970: two processes of one machine agree.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Told {
    /// From then on nothing was acknowledged for this long; it is over.
    Gap {
        #[serde(rename = "gapFrom")]
        from: i64,
        #[serde(rename = "gapMs")]
        ms: f64,
    },
    /// Ten times a second: when a write was acknowledged last; 0: never.
    Last {
        #[serde(rename = "lastAcknowledged")]
        at: i64,
    },
}
