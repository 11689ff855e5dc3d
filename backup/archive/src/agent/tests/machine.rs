//! One agent, with its spool and its calls under way.

use super::super::{
    Action, Agent, Bookmark, Config, Ended, File, Full, FullError, Input, Left, Notice, Order, Stored, Unread,
};
use super::world::{Change, Cluster, FULL_EVERY, Object, PODS, World};
use crate::changes::Mark;
use crate::name::Name;
use leasehold_replication::{ClusterId, Seq, Sum};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub(super) const CONFIG: Config = Config {
    full_every: FULL_EVERY,
    changes_every: Duration::from_secs(10),
    file_bytes_max: 1000,
    spool_bytes_max: 20,
    encrypted: false,
    prune: true,
};

#[derive(Clone)]
pub(super) struct Machine {
    pub(super) agent: Agent,
    watch: Option<Watch>,
    /// A second one, and whether it said its first word.
    beside: Option<(Watch, bool)>,
    /// When the second one last took the place of the first.
    moved: Option<Duration>,
    calls: VecDeque<Action>,
    /// Whose, where it begins, and what is in it.
    open: Option<(Mark, Vec<Change>)>,
    spool: BTreeMap<(ClusterId, Name), (File, Vec<Change>)>,
    ends: BTreeMap<ClusterId, Mark>,
    entry: Option<Change>,
    pub(super) notices: Vec<Notice>,
    pub(super) fulls: usize,
    /// How pods were to be asked for them.
    pub(super) orders: Vec<Order>,
    pub(super) is_over: bool,
    is_started: bool,
}

#[derive(Clone, Debug)]
struct Watch {
    pod: usize,
    cluster: Option<ClusterId>,
    after: Option<Seq>,
    /// Up to where it was told; none: it is not open yet.
    at: Option<u64>,
    /// The cluster that it is connected to.
    to: usize,
}

impl Watch {
    fn bookmark(&self, cluster: &Cluster, upto: u64, stale: Option<Duration>) -> Bookmark {
        Bookmark { cluster: cluster.id, mark: cluster.mark(upto), stale, leads: cluster.leader == self.pod }
    }

    /// Does it end, or is refused?
    fn ended(&self, world: &World) -> Option<Ended> {
        let cluster = world.live();
        let pod = &cluster.pods[self.pod];
        match (self.at, self.after) {
            _ if !pod.is_up || self.to != world.live => Some(Ended::Broken),
            (None, _) if self.cluster.is_some_and(|id| id != cluster.id) => Some(Ended::OtherCluster(cluster.id)),
            (None, Some(after)) if after.0 > cluster.end() => Some(Ended::Ahead),
            (None, Some(after)) if after.0 < pod.oldest => Some(Ended::Gone),
            (Some(at), _) if at < pod.oldest || at > cluster.end() => Some(Ended::Gone),
            _ => None,
        }
    }

    /// With its first word.
    fn opened(self, world: &mut World) -> (Watch, Bookmark) {
        let pod = &mut world.live_mut().pods[self.pod];
        let at = self.after.map_or(pod.applied, |after| after.0);
        pod.applied = at.max(pod.applied);
        let bookmark = self.bookmark(world.live(), at, Some(Duration::ZERO));
        (Watch { at: Some(at), ..self }, bookmark)
    }
}

impl Machine {
    /// The pod that is followed.
    pub(super) fn pod(&self) -> Option<usize> {
        self.watch.as_ref().map(|watch| watch.pod)
    }

    pub(super) fn new() -> Machine {
        Machine {
            agent: Agent::new(CONFIG),
            watch: None,
            beside: None,
            moved: None,
            calls: VecDeque::new(),
            open: None,
            spool: BTreeMap::new(),
            ends: BTreeMap::new(),
            entry: None,
            notices: Vec::new(),
            fulls: 0,
            orders: Vec::new(),
            is_over: false,
            is_started: false,
        }
    }

    pub(super) fn spooled(&self) -> usize {
        self.spool.len()
    }

    /// Somebody deletes one of the files that wait.
    pub(super) fn lose_spooled(&mut self, world: &mut World) {
        let names: Vec<_> = self.spool.keys().copied().collect();
        if !names.is_empty() {
            self.spool.remove(&names[world.below(names.len())]);
        }
    }

    /// What waits in the spool, where that is one file.
    pub(super) fn only_spooled(&self) -> File {
        assert_eq!(self.spool.len(), 1);
        self.spool.values().next().expect("there is one").0.clone()
    }

    pub(super) fn wake(&mut self, world: &mut World) {
        self.start(world);
        self.step(world, Input::Wake);
    }

    fn step(&mut self, world: &mut World, input: Input) {
        if self.is_over {
            return;
        }
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for action in self.agent.step(world.now, input) {
                match action {
                    Action::Watch { pod, cluster, after } => {
                        let pod = pod.parse().expect("a number");
                        self.watch = Some(Watch { pod, cluster, after, at: None, to: world.live });
                        self.beside = None;
                    }
                    Action::CloseWatch => (self.watch, self.beside) = (None, None),
                    Action::WatchBeside { pod, cluster, after } => {
                        assert!(self.watch.is_some(), "beside what?");
                        let (pod, cluster, after) = (pod.parse().expect("a number"), Some(cluster), Some(after));
                        self.beside = Some((Watch { pod, cluster, after, at: None, to: world.live }, false));
                    }
                    Action::CloseBeside => self.beside = None,
                    Action::Move => {
                        let (beside, is_heard) = self.beside.take().expect("there is one beside");
                        assert!(is_heard && self.watch.is_some());
                        let last = self.moved.replace(world.now);
                        let is_late = last.is_none_or(|last| world.now >= last + Duration::from_secs(60));
                        assert!(is_late, "moved at {last:?} and at {:?}", world.now);
                        self.watch = Some(beside);
                    }
                    Action::Open { begin, .. } => self.open = Some((begin, Vec::new())),
                    Action::Append => {
                        let (_, changes) = self.open.as_mut().expect("a file is open");
                        changes.push(self.entry.take().expect("the input was an entry"));
                    }
                    Action::Close(file) => {
                        let (begin, changes) = self.open.take().expect("a file is open");
                        assert_eq!(begin, file.begin);
                        if !world.spools_are_sound && !world.disk_is_sound && world.chance(40) {
                            inputs.push_back(Input::SpoolFailed(Some(file)));
                        } else {
                            self.spool.insert((file.cluster, file.name()), (file, changes));
                        }
                        inputs.push_back(Input::Spool(self.spool.len() as u64));
                    }
                    Action::Note(cluster, end) => {
                        self.ends.insert(cluster, end);
                    }
                    Action::Forget(file) => {
                        self.spool.remove(&(file.cluster, file.name()));
                        inputs.push_back(Input::Spool(self.spool.len() as u64));
                    }
                    Action::Say(notice) => self.notices.push(notice),
                    Action::Exit => self.is_over = true,
                    Action::TakeFull { ref order, .. } => {
                        self.orders.push(order.clone());
                        self.calls.retain(|call| !matches!(call, Action::TakeFull { .. }));
                        self.calls.push_back(action);
                    }
                    Action::Resolve | Action::List(_) | Action::ReadEnd(..) | Action::Put(_) | Action::KeepFull(..) => {
                        self.calls.push_back(action)
                    }
                    Action::Prune(_) => {}
                }
            }
        }
        assert!(self.calls.len() < 50, "calls pile up: {:?}", self.calls);
    }

    fn start(&mut self, world: &mut World) {
        if !std::mem::replace(&mut self.is_started, true) {
            let files = self.spool.values().map(|(file, _)| file.clone()).collect();
            let ends = self.ends.iter().map(|(cluster, end)| (*cluster, *end)).collect();
            self.step(world, Input::Started(Left { files, ends }));
        }
    }

    /// The process ends, and another one begins; mostly with the same spool.
    pub(super) fn restart(&mut self, world: &mut World) {
        if world.chance(4) {
            (self.spool, self.ends) = (BTreeMap::new(), BTreeMap::new());
        }
        self.restart_with_spool(world);
    }

    pub(super) fn restart_with_spool(&mut self, world: &mut World) {
        let (spool, ends) = (std::mem::take(&mut self.spool), std::mem::take(&mut self.ends));
        *self = Machine { spool, ends, fulls: self.fulls, ..Machine::new() };
        self.start(world);
    }

    pub(super) fn stop(&mut self, world: &mut World) {
        self.step(world, Input::Stop);
    }

    pub(super) fn forget_watch(&mut self, world: &mut World) {
        self.watch = None;
        self.step(world, Input::Ended(Ended::Broken));
    }

    pub(super) fn wait(&mut self, world: &mut World) {
        self.start(world);
        let more = Duration::from_millis(world.below(20_000) as u64);
        let deadline = self.agent.deadline().unwrap_or(world.now);
        world.now = if world.chance(2) { world.now + more } else { world.now.max(deadline.min(world.now + more * 50)) };
        self.step(world, Input::Wake);
    }

    /// Everything that can be done now.
    pub(super) fn settle(&mut self, world: &mut World) {
        world.catch_up();
        self.start(world);
        self.step(world, Input::Wake);
        for _ in 0..500 {
            let is_up_to_date = self.watch.as_ref().is_none_or(|watch| watch.at == Some(world.live().end()));
            if self.calls.is_empty() && is_up_to_date && self.beside.is_none() {
                break;
            }
            self.complete(world);
            self.hear(world);
            self.hear_beside(world);
        }
        if let Some(watch) = self.watch.as_ref().filter(|watch| watch.at == Some(world.live().end())) {
            let upto = watch.at.expect("it is open");
            let bookmark = watch.bookmark(world.live(), upto, Some(Duration::ZERO));
            self.step(world, Input::Bookmark(bookmark));
        }
    }

    /// The watch says something, if it has anything to say.
    pub(super) fn hear(&mut self, world: &mut World) {
        self.start(world);
        let Some(watch) = self.watch.clone() else { return };
        let cluster = world.live().clone();
        let pod = &cluster.pods[watch.pod];
        if let Some(ended) = watch.ended(world) {
            self.watch = None;
            return self.step(world, Input::Ended(ended));
        }
        let Some(at) = watch.at else {
            let (watch, bookmark) = watch.opened(world);
            self.watch = Some(watch);
            return self.step(world, Input::Bookmark(bookmark));
        };
        let next = (at + 1..=pod.applied).find(|seq| cluster.entries[*seq as usize].1.is_some());
        let (upto, input) = match next {
            Some(seq) => {
                let (mark, what) = cluster.entries[seq as usize];
                self.entry = what.map(|what| Change { mark, what });
                (seq, Input::Entry { mark, bytes: 100 })
            }
            None => {
                let upto = pod.applied.max(at);
                let stale = (upto == cluster.end()).then_some(Duration::ZERO);
                (upto, Input::Bookmark(watch.bookmark(&cluster, upto, stale)))
            }
        };
        self.watch = Some(Watch { at: Some(upto), ..watch });
        self.step(world, input);
    }

    /// The watch beside says its first word, if it has not.
    pub(super) fn hear_beside(&mut self, world: &mut World) {
        let Some((watch, false)) = self.beside.clone() else { return };
        let said = match watch.ended(world) {
            Some(ended) => {
                self.beside = None;
                Err(ended)
            }
            None => {
                let (watch, bookmark) = watch.opened(world);
                self.beside = Some((watch, true));
                Ok(bookmark)
            }
        };
        self.step(world, Input::Beside(said));
    }

    /// One of the calls under way ends.
    pub(super) fn complete(&mut self, world: &mut World) {
        self.start(world);
        let at = world.below(self.calls.len());
        let Some(call) = self.calls.remove(at) else { return };
        let is_down = world.bucket_is_down;
        let input = match call {
            Action::Resolve => Input::Resolved((0..PODS).map(|pod| pod.to_string().into()).collect()),
            Action::List(id) => {
                let names = world.bucket.keys().filter(|key| key.0 == id).map(|key| key.1).collect();
                Input::Listed(id, Some(names).filter(|_| !is_down && !world.lists_fail))
            }
            Action::ReadEnd(id, name) => Input::EndRead(
                id,
                name,
                match world.bucket.get(&(id, name)) {
                    _ if is_down => Err(Unread::Failed),
                    Some(Object::Verified(mark) | Object::Changes { end: mark, .. }) => Ok(*mark),
                    Some(Object::Full(_)) | None => Err(Unread::Damaged),
                },
            ),
            Action::Put(file) => {
                let key = (file.cluster, file.name());
                let mut stored = if self.spool.contains_key(&key) { Stored::Failed } else { Stored::Lost };
                // What failed may have been done.
                if let Some((_, changes)) = self.spool.get(&key).filter(|_| !is_down || world.chance(4)) {
                    let object = Object::Changes { begin: file.begin, changes: changes.clone(), end: file.end };
                    stored = match world.bucket.entry(key).or_insert_with(|| object.clone()) {
                        theirs if *theirs == object => Stored::Kept,
                        Object::Changes { .. } => Stored::Foreign,
                        Object::Full(_) | Object::Verified(_) => Stored::Damaged,
                    };
                }
                Input::Put(if is_down && stored != Stored::Lost { Stored::Failed } else { stored })
            }
            Action::TakeFull { cluster, from, .. } => self.take_full(world, cluster, from),
            Action::KeepFull(id, mark) => {
                let full = Name::Full { seq: mark.seq, time: mark.time, encrypted: false };
                if !is_down || world.chance(3) {
                    world.bucket.insert((id, full), Object::Full(mark));
                }
                let is_kept = !is_down && !world.chance(10);
                if is_kept {
                    self.fulls += 1;
                    let name = Name::Verified { seq: mark.seq, time: mark.time };
                    world.bucket.insert((id, name), Object::Verified(mark));
                }
                Input::FullKept(id, if is_kept { Ok(()) } else { Err(FullError::Failed) })
            }
            other => panic!("{other:?} is not a call"),
        };
        self.step(world, input);
    }

    fn take_full(&self, world: &mut World, id: ClusterId, from: Seq) -> Input {
        let first = world.below(PODS);
        let at = (first..first + PODS).map(|at| at % PODS).find(|at| world.live().pods[*at].is_up).unwrap_or(first);
        let (cluster, is_false) = (world.live().clone(), world.chance(5));
        let pod = &cluster.pods[at];
        if world.bucket_is_down || !pod.is_up || cluster.id != id {
            return Input::Full(id, Err(FullError::Failed));
        }
        if Seq(pod.applied) < from {
            return Input::Full(id, Err(FullError::Behind));
        }
        let truth = cluster.mark(pod.applied);
        let mark = if is_false { Mark { hash: Sum(!truth.hash.0), ..truth } } else { truth };
        let is_alone = cluster.pods.iter().filter(|pod| pod.is_up).count() == 1;
        Input::Full(id, Ok(Full { mark, said: vec![truth.hash], is_alone }))
    }
}
