//! The loop around the agent's decisions.

use super::calls::{self, Uploaded};
use super::full::{FullFailed, Taken, Taker};
use super::http::Shown;
use super::listening::{Beside, Listening, Task, listen, next};
use super::words::{Failures, say};
use crate::bucket::Bucket;
use crate::metrics::{At, Kind, Metrics};
use crate::source::{Failed, First, Heard, Source};
use crate::spool::{Spool, SpoolError};
use futures_util::FutureExt as _;
use leasehold_archive::agent::{Action, Agent, Bookmark, Ended, File, FullError, Input, Left, Pod, Stored, Unread};
use leasehold_archive::changes::Mark;
use leasehold_archive::name::Name;
use leasehold_archive::verified::Verified;
use leasehold_daemon::logs::in_words;
use leasehold_replication::ClusterId;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// The loop turns this often when nothing happens, so that a dead one shows.
const TURN: Duration = Duration::from_secs(5);

/// A call that ended.
enum Report {
    Resolved(Vec<Pod>),
    Listed(ClusterId, Result<Vec<Name>, String>),
    EndRead(ClusterId, Name, Result<Mark, (Unread, String)>),
    Put(Result<Uploaded, String>),
    Full(ClusterId, Result<Taken, FullFailed>),
    Kept(ClusterId, Result<u64, FullFailed>),
    Pruned(Result<u64, String>),
}

pub(super) struct Driver {
    pub(super) agent: Agent,
    pub(super) source: Source,
    pub(super) bucket: Bucket,
    pub(super) spool: Spool,
    pub(super) taker: Taker,
    pub(super) retention: super::Retention,
    pub(super) metrics: Metrics,
    pub(super) shown: watch::Sender<Shown>,
}

struct Running {
    driver: Driver,
    failures: Failures,
    began: Instant,
    reports: mpsc::Sender<Report>,
    heard: Option<Listening>,
    /// What arrived together, and was not looked at.
    arrived: VecDeque<Heard>,
    /// A second watch, which is not read behind its first word.
    beside: Beside,
    full: Option<Task>,
    /// What is to be noted of the last full.
    verified: Option<Verified>,
    /// Of the entry that is the present input.
    lines: Vec<String>,
    inputs: VecDeque<Input>,
}

impl Driver {
    /// Runs until `stop`, and then until all is uploaded or a few seconds have passed.
    pub(super) async fn run(self, left: Left, stop: CancellationToken) {
        // Each action has one call under way at most; none is ever dropped.
        let (reports, mut reported) = mpsc::channel(64);
        let failures = Failures::new(self.metrics.clone());
        let inputs = VecDeque::from([Input::Started(left)]);
        let mut running = Running {
            driver: self,
            failures,
            began: Instant::now(),
            reports,
            heard: None,
            arrived: VecDeque::new(),
            beside: Beside::None,
            full: None,
            verified: None,
            lines: Vec::new(),
            inputs,
        };
        let mut is_stopping = false;
        while !running.turn() {
            let now = Instant::now();
            let wake = running.driver.agent.deadline().map_or(now + TURN, |at| (running.began + at).min(now + TURN));
            let input = tokio::select! {
                heard = next(running.heard.as_mut()) => match heard {
                    Ok(arrived) => {
                        running.arrived.extend(arrived);
                        continue;
                    }
                    Err(failed) => running.on_watch_ended(failed),
                },
                heard = next(running.beside.opening()) => running.on_beside(heard),
                Some(report) = reported.recv() => running.on_report(report),
                () = tokio::time::sleep_until(wake) => Input::Wake,
                () = stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    Input::Stop
                }
            };
            running.inputs.push_back(input);
        }
    }
}

impl Running {
    /// Steps with all inputs, and shows once what has come of them. Is all over?
    fn turn(&mut self) -> bool {
        let mut is_over = false;
        loop {
            while let Some(input) = self.inputs.pop_front() {
                for action in self.driver.agent.step(self.began.elapsed(), input) {
                    is_over |= self.carry_out(action);
                }
            }
            let Some(heard) = self.arrived.pop_front() else { break };
            let input = self.on_heard(heard);
            self.inputs.push_back(input);
        }
        let (status, now) = (self.driver.agent.status(), self.began.elapsed());
        let since = |complete: Duration| SystemTime::now() - now.saturating_sub(complete);
        let complete = status.complete.map(since).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        self.driver.metrics.status(&status, complete.map(|at| at.as_secs_f64()));
        self.driver.metrics.requests_are(self.driver.bucket.requests());
        self.driver.metrics.spooled(self.driver.spool.bytes());
        self.driver.shown.send_replace(Shown { status, turned: Instant::now() });
        is_over
    }

    fn on_heard(&mut self, heard: Heard) -> Input {
        match heard {
            Heard::Bookmark(first) => Input::Bookmark(bookmark(&first)),
            Heard::Entry { mark, lines } => {
                let bytes = lines.iter().map(|line| line.len() as u64 + 1).sum();
                self.lines = lines;
                Input::Entry { mark, bytes }
            }
        }
    }

    fn on_watch_ended(&mut self, failed: Failed) -> Input {
        let Failed { ended, what } = failed;
        self.heard = None;
        match ended {
            Ended::Broken | Ended::Denied => self.failures.note(At::Source, &what),
            Ended::Gone | Ended::Ahead | Ended::OtherCluster(_) => info!("{what}"),
        }
        Input::Ended(ended)
    }

    /// What one that is not followed yet says is not in the metrics: nothing is missing without it.
    fn on_beside(&mut self, heard: Result<Vec<Heard>, Failed>) -> Input {
        let mut arrived = match heard {
            Ok(arrived) => VecDeque::from(arrived),
            Err(Failed { ended, what }) => {
                info!("cannot follow another pod than the one that leads: {what}");
                self.beside = Beside::None;
                return Input::Beside(Err(ended));
            }
        };
        match (arrived.pop_front(), std::mem::replace(&mut self.beside, Beside::None)) {
            (Some(Heard::Bookmark(first)), Beside::Opening(listening)) => {
                self.beside = Beside::Open(listening, arrived);
                Input::Beside(Ok(bookmark(&first)))
            }
            _ => Input::Beside(Err(Ended::Broken)),
        }
    }

    fn on_report(&mut self, report: Report) -> Input {
        match report {
            Report::Resolved(pods) => {
                if pods.is_empty() {
                    self.failures.note(At::Source, &"none of the names in --store has an address");
                }
                Input::Resolved(pods)
            }
            Report::Listed(cluster, names) => {
                let names = names.map_err(|what| self.failures.note(At::Bucket, &what));
                Input::Listed(cluster, names.ok())
            }
            Report::EndRead(cluster, name, end) => {
                let end = end.map_err(|(unread, what)| {
                    self.failures.note(At::Bucket, &what);
                    unread
                });
                Input::EndRead(cluster, name, end)
            }
            Report::Put(put) => Input::Put(match put {
                Ok(Uploaded { stored, bytes }) => {
                    if let Some(bytes) = bytes {
                        self.driver.metrics.uploaded(Kind::Changes, bytes);
                    }
                    stored
                }
                Err(what) => {
                    self.failures.note(At::Bucket, &what);
                    Stored::Failed
                }
            }),
            Report::Full(cluster, full) => {
                let full = full.map_err(|failed| self.no_full(failed));
                Input::Full(
                    cluster,
                    full.map(|Taken { full, verified }| {
                        if full.is_alone {
                            let what =
                                format!("no other pod says what it has at entry {}, as a full needs", full.mark.seq);
                            self.failures.note(At::Source, &what);
                        }
                        self.verified = Some(verified);
                        full
                    }),
                )
            }
            Report::Kept(cluster, kept) => {
                let kept = kept.map_err(|failed| self.no_full(failed));
                if let (Ok(bytes), Some(Verified { mark, records, .. })) = (kept, &self.verified) {
                    info!(sequence = mark.seq.0, time = %mark.time, records, "a full is verified");
                    if bytes > 0 {
                        self.driver.metrics.uploaded(Kind::Full, bytes);
                    }
                }
                Input::FullKept(cluster, kept.map(|_| ()))
            }
            Report::Pruned(pruned) => {
                match pruned {
                    Ok(0) => {}
                    Ok(objects) => {
                        self.driver.metrics.pruned(objects);
                        info!(objects, "deleted what nothing needs any longer");
                    }
                    Err(what) => self.failures.note(At::Prune, &what),
                }
                Input::Wake
            }
        }
    }

    /// Is it the last one?
    fn carry_out(&mut self, action: Action) -> bool {
        let (bucket, source) = (self.driver.bucket.clone(), self.driver.source.clone());
        match action {
            Action::Resolve => self.call(async move { Report::Resolved(source.pods().await) }),
            Action::Watch { pod, cluster, after } => {
                self.close_watch();
                self.heard = Some(listen(source, pod, cluster, after));
            }
            Action::CloseWatch => self.close_watch(),
            Action::WatchBeside { pod, cluster, after } => {
                self.beside = Beside::Opening(listen(source, pod, Some(cluster), Some(after)));
            }
            Action::CloseBeside => self.beside = Beside::None,
            Action::Move => {
                if let Beside::Open(listening, arrived) = std::mem::replace(&mut self.beside, Beside::None) {
                    info!("another pod is followed now, which does not lead");
                    (self.heard, self.arrived) = (Some(listening), arrived);
                }
            }
            Action::List(cluster) => self.call(async move {
                let names = calls::list(&bucket, cluster).await;
                Report::Listed(cluster, names.map_err(|error| error.to_string()))
            }),
            Action::ReadEnd(cluster, name) => {
                self.call(async move { Report::EndRead(cluster, name, calls::read_end(&bucket, cluster, name).await) })
            }
            Action::Open { cluster, begin } => {
                let begun = self.driver.spool.begin(cluster, begin);
                self.on_spool(begun, None);
            }
            Action::Append => {
                let lines = std::mem::take(&mut self.lines);
                let written = self.driver.spool.append(&lines);
                self.on_spool(written, None);
            }
            Action::Close(file) => {
                let closed = tokio::task::block_in_place(|| self.driver.spool.close(&file));
                self.on_spool(closed, Some(file));
                self.inputs.push_back(Input::Spool(self.driver.spool.bytes()));
            }
            Action::Put(file) => {
                let path = self.driver.spool.path(&file);
                self.call(async move {
                    Report::Put(calls::put(&bucket, &file, path).await.map_err(|error| error.to_string()))
                });
            }
            Action::Note(cluster, end) => {
                // Without it a next run asks the bucket.
                if let Err(error) = tokio::task::block_in_place(|| self.driver.spool.note(cluster, end)) {
                    self.failures.note(At::Spool, &in_words(&error));
                }
            }
            Action::Forget(file) => {
                self.driver.spool.forget(&file);
                self.inputs.push_back(Input::Spool(self.driver.spool.bytes()));
            }
            Action::TakeFull { cluster, from, order } => {
                let taker = self.driver.taker.clone();
                let call = async move { Report::Full(cluster, taker.take(cluster, from, &order).await) };
                // The one before writes the same file.
                self.full = None;
                self.full = Some(self.spawn(call));
            }
            Action::KeepFull(cluster, _) => {
                let Some(verified) = self.verified.clone() else { return false };
                let taker = self.driver.taker.clone();
                self.full = Some(self.spawn(async move { Report::Kept(cluster, taker.keep(cluster, verified).await) }));
            }
            Action::Prune(cluster) => {
                let retention = self.driver.retention;
                self.call(async move { Report::Pruned(retention.prune(&bucket, cluster).await) });
            }
            Action::Say(notice) => say(&notice),
            Action::Exit => return true,
        }
        false
    }

    fn close_watch(&mut self) {
        (self.heard, self.beside) = (None, Beside::None);
        self.arrived.clear();
    }

    fn no_full(&mut self, failed: FullFailed) -> FullError {
        let FullFailed { at, why, what } = failed;
        if why != FullError::Behind {
            self.failures.note(at, &format!("no full was kept: {what}"));
        }
        why
    }

    fn on_spool(&mut self, done: Result<(), SpoolError>, file: Option<File>) {
        if let Err(error) = done {
            let at = match error {
                SpoolError::Disk { .. } | SpoolError::Taken { .. } => At::Spool,
                SpoolError::Changes(_) => At::Source,
            };
            self.failures.note(at, &in_words(&error));
            self.inputs.push_back(Input::SpoolFailed(file));
        }
    }

    fn call(&self, call: impl Future<Output = Report> + Send + 'static) {
        let reports = self.reports.clone();
        // Only the loop's end closes the channel.
        tokio::spawn(async move { drop(reports.send(or_end(call).await).await) });
    }

    fn spawn(&self, call: impl Future<Output = Report> + Send + 'static) -> Task {
        let reports = self.reports.clone();
        Task(tokio::spawn(async move { drop(reports.send(or_end(call).await).await) }).abort_handle())
    }
}

/// A call that panicked would be waited for for ever. The process ends instead: the next one finds what is in the spool.
async fn or_end(call: impl Future<Output = Report>) -> Report {
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| {
        error!("a part of the agent failed, by a fault of this program; it ends");
        std::process::exit(1)
    })
}

fn bookmark(first: &First) -> Bookmark {
    let First { cluster_id, mark, stale_ms, leads, .. } = *first;
    Bookmark { cluster: cluster_id, mark, stale: stale_ms.map(Duration::from_millis), leads }
}
