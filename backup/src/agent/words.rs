//! What the agent says in its log: decisions once, failures at most once a minute for each place.

use crate::metrics::{At, Metrics};
use leasehold_archive::agent::{Notice, Refused};
use leasehold_archive::catalog::Edge;
use leasehold_archive::time::Time;
use leasehold_replication::Seq;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{error, info, warn};

const PAUSE: Duration = Duration::from_secs(60);

/// Counts failures, and logs some of them.
pub(super) struct Failures {
    metrics: Metrics,
    said: BTreeMap<At, Instant>,
}

impl Failures {
    pub(super) fn new(metrics: Metrics) -> Failures {
        Failures { metrics, said: BTreeMap::new() }
    }

    pub(super) fn note(&mut self, at: At, what: &dyn Display) {
        self.metrics.failed(at);
        let now = Instant::now();
        if self.said.get(&at).is_none_or(|said| now.duration_since(*said) >= PAUSE) {
            self.said.insert(at, now);
            warn!(at = at.word(), "{what}; trying again");
        }
    }
}

/// `entry 812 (2026-11-30T15:31:28.123Z)`.
fn edge(edge: Option<(Seq, Time)>) -> Option<String> {
    edge.map(|(seq, time)| Edge { seq, time }.to_string())
}

pub(super) fn say(notice: &Notice) {
    match notice {
        Notice::Begins(cluster) => {
            info!(cluster = %cluster.0, "the archive has no full of this cluster yet: taking one");
        }
        Notice::Continues(cluster, seq) => info!(cluster = %cluster.0, sequence = seq.0, "archiving from here on"),
        Notice::Spools(seq) => {
            warn!(
                sequence = seq.0,
                "the bucket has not answered yet: changes after that sequence are kept in the spool"
            );
        }
        Notice::Gap(end, begin) => warn!(
            from = end.0,
            to = begin.0,
            "a gap: no pod has the changes after the first sequence any longer. Points between the two cannot be restored; \
             taking a full. Give the stores more --watch-history, or the spool more room, if this happens again"
        ),
        Notice::Hole(end, beyond) => error!(
            from = end.0,
            to = beyond.0,
            "objects are missing in the archive: nothing leads from the first sequence to the second. Look at who deletes in \
             the bucket (lifecycle rules?)"
        ),
        Notice::Damaged(name) => {
            error!(object = %name, "an object of the archive is damaged or gone; doing without it")
        }
        Notice::OtherCluster(cluster) => {
            warn!(cluster = %cluster.0, "the store is another cluster now: it gets a folder of its own");
        }
        Notice::Refused(Refused::ForeignHistory, archive, store) => error!(
            archive = edge(*archive),
            store = edge(*store),
            "foreign history: the archive has other data at a sequence of this cluster, as if the cluster was cloned, or its \
             volumes were put back. Nothing is written, so that the two do not mix. Give this cluster another --url, or move \
             the old folder away"
        ),
        Notice::Refused(Refused::Ahead, archive, _) => error!(
            archive = edge(*archive),
            "the cluster has not committed what the archive has: it lost data, or its volumes were put back. Nothing is \
             written. Restore from the archive, or move the old folder away"
        ),
        Notice::Refused(Refused::Format, ..) => error!(
            "the snapshot has a format that this build does not read, so no full can be verified: use the agent of the store's \
             release"
        ),
        Notice::Accepted => info!("the reason to refuse is gone: archiving again"),
        Notice::SpoolFull => {
            error!("the spool is full: the watch is closed until the bucket has accepted half of it; see --spool-max");
        }
        Notice::FalseFull(seq) => error!(
            sequence = seq.0,
            "a full has another hash than the stores say for that sequence: it is not counted, and another one is taken"
        ),
        Notice::Alone(seq) => warn!(
            sequence = seq.0,
            "no other pod has answered for long: a full counts although only the pod that it is from says that it is right"
        ),
        Notice::Lost(name) => error!(
            file = %name,
            "a file that waited in the spool is gone, and the points in it cannot be restored; taking a full. Look at who \
             deletes in the folder of --spool"
        ),
        Notice::Discarded(name) => info!(file = %name, "a file in the spool does not continue the archive: deleted"),
    }
}
