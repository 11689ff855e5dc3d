//! For how long no write was acknowledged, while nodes die, freeze and return.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use leasehold_api::lock;
use tokio::{sync::Semaphore, time::MissedTickBehavior};
use uuid::Uuid;

use super::{
    super::job::{Job, Protocol, Records, Told},
    link::{Ask, Link},
};

/// Writes on their way to one node at most: of a frozen one, one second's.
const FLYING_MAX: usize = 500;
/// After this time a write is given up, and with it its connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the attempts share.
struct Shared {
    protocol: Protocol,
    record_bytes: usize,
    /// In nanoseconds since 1970; 0: none yet.
    last: Mutex<i64>,
    threshold_ms: f64,
    idle: Mutex<BTreeMap<SocketAddr, Vec<Link>>>,
}

/// Begins a write at every node on every tick, whatever became of those before, so that a frozen node, or a request
/// that it swallowed, holds no other write up.
pub(super) async fn run(job: &Job) -> anyhow::Result<()> {
    #[allow(clippy::cast_precision_loss)]
    let shared = Arc::new(Shared {
        protocol: job.protocol,
        record_bytes: job.record_bytes,
        last: Mutex::new(0),
        threshold_ms: job.tick_ms as f64 * 2.0,
        idle: Mutex::default(),
    });
    let flying: Vec<_> = job.nodes.iter().map(|node| (*node, Arc::new(Semaphore::new(FLYING_MAX)))).collect();
    let mut tick = tokio::time::interval(Duration::from_millis(job.tick_ms));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let every = (100 / job.tick_ms.max(1)).max(1);
    for turn in 1_u64.. {
        tick.tick().await;
        for (node, flying) in &flying {
            let Ok(permit) = flying.clone().try_acquire_owned() else { continue };
            let (shared, node) = (shared.clone(), *node);
            tokio::spawn(async move {
                let _permit = permit;
                // Refused, lost, too late: not acknowledged. The next tick tries again.
                let _ = tokio::time::timeout(PATIENCE, shared.attempt(node)).await;
            });
        }
        if turn % every == 0 {
            let at = *lock(&shared.last);
            tell(&Told::Last { at });
        }
    }
    Ok(())
}

impl Shared {
    async fn attempt(&self, node: SocketAddr) -> anyhow::Result<()> {
        let idle = lock(&self.idle).get_mut(&node).and_then(Vec::pop);
        let mut link = match idle {
            Some(link) => link,
            None => Link::open(self.protocol, Records::Persons, node).await?,
        };
        let outcome = link.carry_out(&Ask::Write(Uuid::new_v4()), self.record_bytes).await;
        let is_refusal = match &outcome {
            Ok(_) => {
                self.acknowledged();
                true
            }
            // An answer, if not the wanted one: the connection is good.
            Err(error) => error.to_string().starts_with(|first: char| first.is_ascii_digit()),
        };
        if is_refusal {
            lock(&self.idle).entry(node).or_default().push(link);
        }
        outcome.map(drop)
    }

    fn acknowledged(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let from = std::mem::replace(&mut *lock(&self.last), now);
        #[allow(clippy::cast_precision_loss)]
        let ms = (now - from) as f64 / 1e6;
        if from != 0 && ms > self.threshold_ms {
            tell(&Told::Gap { from, ms });
        }
    }
}

fn tell(told: &Told) {
    if let Ok(line) = serde_json::to_string(told) {
        println!("{line}");
    }
}
