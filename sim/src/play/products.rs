//! Every mix of a few lasting troubles, for three voters: the liveness that docs/design.md promises.
//!
//! ```text
//!   a settled cluster ──one dead store × each sidecar well, dead or without API × one cut link × an edited Lease × the API
//!   gone for a while──▶ must there be a leader? ──▶ one, that writes, that stays, with a true Lease, after few terms
//! ```
//!
//! There must be one where a store with a live sidecar reaches a majority of the stores. Each mix starts with a copy of one
//! of two clusters: in the first all logs are equal, in the other the last replica lags when the trouble begins. Nothing
//! here is random except small delays.

use crate::model::cluster::Cluster;
use crate::model::lease::describe;
use crate::model::rng::Rng;
use crate::model::settings::Settings;
use crate::model::trace::{Trace, shorten_ids};
use crate::options::Options;
use crate::outcome::Failure;
use crate::plant::{Plant, Planted};
use leasehold_election::{Term, annotation};
use leasehold_replication::Phase;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// How many mixes there are.
pub const PRODUCTS: u64 = 2 * 4 * 27 * 4 * LEASES * 2;
const LEASES: u64 = 8;
/// How many terms a mix may cost, however bad it is.
const TERMS_MAX: u64 = 8;

#[derive(Clone, Copy, Debug)]
struct Mix {
    lags: bool,
    dead: Option<usize>,
    /// Of each sidecar: 0 well, 1 dead, 2 without API.
    sidecars: [u64; 3],
    cut: Option<(usize, usize)>,
    lease: u64,
    api_gone: bool,
}

impl Mix {
    fn new(number: u64) -> Mix {
        let mut rest = number % PRODUCTS;
        let mut take = |bound: u64| {
            let part = rest % bound;
            rest /= bound;
            part
        };
        Mix {
            lags: take(2) == 1,
            dead: [None, Some(0), Some(1), Some(2)][take(4) as usize],
            sidecars: [take(3), take(3), take(3)],
            cut: [None, Some((0, 1)), Some((0, 2)), Some((1, 2))][take(4) as usize],
            lease: take(LEASES),
            api_gone: take(2) == 1,
        }
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        let is_cut = self.cut == Some((a.min(b), a.max(b)));
        self.dead != Some(a) && self.dead != Some(b) && !is_cut
    }

    /// A store with a live sidecar reaches a majority of the stores, itself included.
    fn must_settle(&self) -> bool {
        (0..3).any(|pod| self.sidecars[pod] != 1 && (0..3).filter(|other| self.reaches(pod, *other)).count() >= 2)
    }
}

/// A healthy cluster, from which the mixes start.
#[derive(Debug)]
pub struct Base {
    cluster: Cluster,
}

impl Base {
    /// Runs three pods until they are settled, with nothing going wrong.
    ///
    /// # Errors
    /// They do not settle.
    pub fn new(trace_lines: usize) -> Result<Base, Failure> {
        let mut rng = Rng::new(1);
        let settings = Settings::calm(&mut rng, &Options::default());
        let mut cluster = Cluster::new(1, settings, rng, Trace::new(trace_lines));
        cluster.calm();
        let settled = cluster.settle("at first").and_then(|_| cluster.stays_settled());
        match settled.err().or(cluster.facts.take_violation()) {
            None => Ok(Base { cluster }),
            Some(what) => Err(Failure { seed: 0, what, trace: cluster.trace.into_lines() }),
        }
    }

    /// Tries the mix of this number. Returns how many terms it cost; none if there need not be a leader.
    ///
    /// # Errors
    /// The violation.
    pub fn mix(&self, number: u64, plant: Option<Plant>) -> Result<Option<u64>, Failure> {
        let _planted = Planted::new(plant);
        let mix = Mix::new(number);
        let mut cluster = self.cluster.clone();
        cluster.settings.plant = plant;
        let judged = catch_unwind(AssertUnwindSafe(|| cluster.endure(&mix)));
        let wrong = match (cluster.facts.take_violation(), judged) {
            (Some(what), _) | (None, Ok(Err(what))) => what,
            (None, Ok(Ok(burnt))) => return Ok(burnt),
            (None, Err(_)) => "a core panicked".to_owned(),
        };
        let what = format!("mix {number}, {mix:?}: {wrong}");
        Err(Failure { seed: number, what: shorten_ids(&what), trace: cluster.trace.into_lines() })
    }
}

impl Cluster {
    fn endure(&mut self, mix: &Mix) -> Result<Option<u64>, String> {
        // The leader is pod-0 in every mix: if it is not, it hands over first.
        let forever = self.now + Duration::from_secs(1_000_000);
        let lease_duration = self.settings.lease_duration;
        if mix.lags {
            self.network.cut_both(0, 2, forever);
            for _ in 0..5 {
                self.write_once();
            }
        }
        let before = self.highest_term();
        for pod in 0..3 {
            match mix.sidecars[pod] {
                0 => {}
                1 => self.end_sidecar_for_good(pod),
                _ => self.lose_api(pod, forever),
            }
        }
        if let Some(pod) = mix.dead {
            self.end_store_for_good(pod);
        }
        if mix.lags {
            self.network.mend();
        }
        if let Some((a, b)) = mix.cut {
            self.network.cut_both(a, b, forever);
        }
        self.spoil_lease(mix.lease);
        let back = self.now + 3 * lease_duration + Duration::from_secs(3);
        if mix.api_gone {
            (0..3).for_each(|pod| self.lose_api(pod, back));
        }
        if !mix.must_settle() {
            self.run_until(self.now + 4 * lease_duration);
            return Ok(None);
        }
        // Nobody has seen the changes yet.
        self.run_until(self.now + Duration::from_secs(3));
        let mut during = None;
        if mix.api_gone {
            self.run_until(back - Duration::from_millis(1));
            during = self.steady_leader(mix, false).ok();
            // The edit is seen only now.
            self.run_until(back + Duration::from_secs(3));
        }
        let after = self.becomes_steady(mix)?;
        if let (Some(during), Some(after)) = (during, after)
            && during != after
            && mix.lease == 0
            && mix.sidecars[during.0] != 1
        {
            return Err(format!("liveness: the API came back, and leader {during:?} was replaced by {after:?}"));
        }
        self.run_until(self.now + 2 * lease_duration + Duration::from_secs(2));
        let later = self.becomes_steady(mix)?;
        if later != after {
            return Err(format!("liveness: leader {after:?} was replaced by {later:?} without a cause"));
        }
        let burnt = self.highest_term() - before;
        if burnt > TERMS_MAX {
            return Err(format!("liveness: {burnt} terms were burnt"));
        }
        Ok(Some(burnt))
    }

    fn becomes_steady(&mut self, mix: &Mix) -> Result<Option<(usize, u64)>, String> {
        let until = self.now + 6 * self.settings.lease_duration + Duration::from_secs(25);
        loop {
            let why = match self.steady_leader(mix, true) {
                Ok(steady) if self.write_once() => return Ok(Some(steady)),
                Ok(_) => "a write is not acknowledged".to_owned(),
                Err(why) => why,
            };
            if self.facts.is_violated() {
                return Ok(None);
            }
            if self.now > until {
                return Err(format!("liveness: not settled: {why}\n{}", self.explain()));
            }
            self.run_until(self.now + Duration::from_millis(100));
        }
    }

    /// The one leader and its term; or what is still wrong.
    fn steady_leader(&self, mix: &Mix, has_api: bool) -> Result<(usize, u64), String> {
        let up = |pod: &usize| self.pods[*pod].store.up().map(|up| &up.status);
        let leaders: Vec<usize> = (0..3)
            .filter(|pod| up(pod).is_some_and(|status| status.phase == Phase::Leading && status.leader_heard))
            .collect();
        let [leader] = leaders[..] else { return Err(format!("leaders: {leaders:?}")) };
        let status = self.pods[leader].store.status();
        let follows = |pod: &usize| up(pod).is_some_and(|other| other.promise == status.promise);
        if (0..3).filter(follows).count() < 2 {
            return Err("no majority follows".to_owned());
        }
        if let Some(pod) = (0..3).find(|pod| mix.reaches(*pod, leader) && !follows(pod)) {
            return Err(format!("pod-{pod} reaches pod-{leader} and does not follow it"));
        }
        let is_true = self.api.lease().is_some_and(|lease| {
            lease.body.holder.as_ref() == Some(&self.pods[leader].name) && lease.body.term.0 == status.promise.term.0
        });
        if has_api && mix.sidecars[leader] == 0 && !is_true {
            return Err(format!("the Lease is not true: {}", describe(self.api.lease())));
        }
        Ok((leader, status.promise.term.0))
    }

    fn highest_term(&self) -> u64 {
        let stores = self.pods.iter().filter_map(|pod| pod.store.up());
        stores.map(|up| up.status.promise.term.0).max().unwrap_or_default()
    }

    /// Somebody edits the Lease, or deletes it.
    fn spoil_lease(&mut self, kind: u64) {
        let Some(mut body) = self.api.lease().map(|lease| lease.body.clone()) else { return };
        let id = self.rng.uuid().to_string();
        let stranger = |body: &mut leasehold_election::Body| {
            body.annotations.insert(annotation::INCARNATION.to_owned(), id);
        };
        match kind {
            0 => return,
            1 => return self.delete_lease(),
            2 => body.holder = None,
            3 => {
                body.term = Term(body.term.0 - 1);
                body.holder = Some(self.pods[1].name.clone());
                stranger(&mut body);
            }
            4 => {
                body.holder = Some(self.pods[2].name.clone());
                stranger(&mut body);
            }
            5 => {
                body.term = Term(body.term.0 + 2);
                body.holder = Some(self.pods[1].name.clone());
                stranger(&mut body);
            }
            6 => body.holder = Some("somebody-else".to_owned()),
            _ => body.term = Term::MAX,
        }
        self.put_lease(body);
    }
}
