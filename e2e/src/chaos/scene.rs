//! What all participants share: the recorder, the time line, the stores' addresses, the records in use.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use leasehold_api::lock;

use super::keyed::Counts;
use super::random::Random;
use super::steps::Steps;
use super::timeline::TimeLine;
use crate::{client::Http, cluster::Cluster, history::Recorder};

/// The shared part of a run.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) recorder: Recorder,
    pub(super) line: TimeLine,
    /// Of updates.
    pub(super) steps: Steps,
    pub(super) http: Http,
    /// Strong reads are available.
    pub(super) strong_reads: AtomicBool,
    /// Writes that were sent again.
    pub(super) keyed: Counts,
    /// The stores, by ordinal, as far as they are known.
    roster: Mutex<Vec<Option<SocketAddr>>>,
    /// Where clients believe the leader to be.
    guess: AtomicU16,
    board: Mutex<Board>,
}

/// The records in use: a few at a time, so that clients meet; each for a while, so that its history can be searched.
#[derive(Debug)]
struct Board {
    random: Random,
    keys: Vec<(u32, String, u32)>,
}

/// Records in use at one time.
const KEYS: usize = 8;
/// How many requests use a record before another one replaces it.
const USES: u32 = 400;

impl Scene {
    pub(super) fn new(line: TimeLine, seed: u64) -> Arc<Scene> {
        Arc::new(Scene {
            recorder: Recorder::default(),
            line,
            steps: Steps::default(),
            http: Http::default(),
            strong_reads: AtomicBool::new(false),
            keyed: Counts::default(),
            roster: Mutex::default(),
            guess: AtomicU16::new(0),
            board: Mutex::new(Board { random: Random::new(seed, 1), keys: Vec::new() }),
        })
    }

    /// The store of pod `i`, if it is known where that is.
    pub(super) fn store(&self, i: u16) -> Option<SocketAddr> {
        lock(&self.roster).get(usize::from(i)).copied().flatten()
    }

    /// All stores that are known.
    pub(super) fn stores(&self) -> Vec<(u16, SocketAddr)> {
        let roster = lock(&self.roster);
        (0..).zip(roster.iter()).filter_map(|(i, address)| Some((i, (*address)?))).collect()
    }

    pub(super) fn set_roster(&self, roster: Vec<Option<SocketAddr>>) {
        *lock(&self.roster) = roster;
    }

    pub(super) fn guess(&self) -> u16 {
        self.guess.load(Ordering::Relaxed)
    }

    /// Pod `was` is not the leader: the one at this address may be, or else the next.
    pub(super) fn guess_other(&self, was: u16, named: Option<&str>) {
        let stores = self.stores();
        let named = named.and_then(|body| stores.iter().find(|(_, address)| body.contains(&address.to_string())));
        let next = stores.iter().find(|(i, _)| *i > was).or(stores.first());
        if let Some((next, _)) = named.or(next) {
            let _ = self.guess.compare_exchange(was, *next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// A record to ask for: its number and its id.
    pub(super) fn pick(&self, random: &mut Random) -> (u32, String) {
        let mut board = lock(&self.board);
        let board = &mut *board;
        while board.keys.len() < KEYS {
            let id = uuid::Uuid::from_u64_pair(board.random.next(), board.random.next());
            let id = uuid::Builder::from_bytes(id.into_bytes()).with_version(uuid::Version::Random).into_uuid();
            board.keys.push((self.recorder.new_key(id.to_string()), id.to_string(), USES));
        }
        let place = usize::try_from(random.below(KEYS as u64)).unwrap_or(0);
        let (key, id, left) = &mut board.keys[place];
        *left -= 1;
        let picked = (*key, id.clone());
        if *left == 0 {
            board.keys.swap_remove(place);
        }
        picked
    }

    /// Asks every pod now and then who leads, and notes who claims to.
    pub(super) async fn watch_the_leader(self: Arc<Scene>, over: Arc<AtomicBool>) {
        while !over.load(Ordering::Relaxed) {
            let asked = self.stores().into_iter().map(|(i, address)| {
                let http = &self.http;
                async move {
                    let get = http.send(http::Method::GET, address, "/api/leader", None, Duration::from_millis(500));
                    let said = get.await.ok()?.json();
                    // The address may belong to another pod by now.
                    let pod = said["self"].as_str().and_then(Cluster::ordinal).unwrap_or(i);
                    (said["isLeader"] == true).then(|| (pod, said["term"].as_u64().unwrap_or(0)))
                }
            });
            let leaders: Vec<(u16, u64)> = join_all(asked).await.into_iter().flatten().collect();
            for (pod, term) in &leaders {
                self.recorder.leads(*pod, *term);
            }
            let leader = leaders.into_iter().max_by_key(|(_, term)| *term);
            if let Some((pod, _)) = leader {
                self.guess.store(pod, Ordering::Relaxed);
            }
            self.line.leads(leader);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
