//! `e2e chaos`: everything is broken that can be, while clients read and write; and in the end nothing may be wrong.
//!
//! ```text
//!   seed ──▶ plan ──rounds of faults──▶ stage: processes | kubernetes
//!                                          ▲
//!              clients (one per pod, and some that follow the leader) ──▶ Recorder ──▶ Verdict
//!              traders (of collections, while definitions change)        ▲   └──▶ time line: gaps, and their causes
//!              watcher (all commits of those) ───────────────────────────┘
//! ```
//!
//! `e2e skew` is the same with other rounds: steps of rolling updates from the last release to this build and back
//! (`updates`), with faults of chaos' plan during them and in between. The format is held back meanwhile, and rises at the end;
//! then a collection is used (`collection`).
//!
//! Two things are judged: what clients were told (`crate::history`), and that writes go on within a generous time after
//! everything was healed. Never how fast anything was. The faults are decided by the seed alone; when exactly they meet a
//! request is not, so the same seed finds a rare fault often, but not always.

mod args;
mod clients;
mod collection;
mod convergence;
mod course;
mod fault;
mod keyed;
mod kubernetes;
mod patience;
mod plan;
mod processes;
mod random;
mod release;
mod scene;
mod stage;
mod steps;
mod summary;
mod timeline;
mod traders;
mod updates;
mod watcher;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cluster::{enter_own_network, is_in_own_network},
    history::{Recorded, Recorder},
};
pub use args::{Chaos, Skew, When};
use clients::Clients;
use convergence::Persons;
use course::{About, Course};
use kubernetes::Kubernetes;
use patience::{RECOVERY, until};
use plan::Round;
use processes::{Mixed, Processes};
use release::Builds;
use scene::Scene;
use stage::{PODS, PODS_MAX, Stage};
use steps::Step;
use timeline::TimeLine;

/// Runs of so many minutes wait at the end until all records have expired whose time is over: that may take more than a minute.
const CALM_FROM_MINUTES: f64 = 2.0;
/// How often the progress is reported.
const SUMMED_UP_EVERY: Duration = Duration::from_secs(5);

/// To be called before anything else, threads above all: goes into a network of our own, if that is wanted and can be.
pub fn prepare(args: &Chaos) {
    if !args.kubernetes && args.check.is_none() && !args.no_network && !is_in_own_network() {
        eprintln!("e2e: {:#}", enter_own_network());
    }
}

/// The same for `e2e skew`.
pub fn prepare_skew(args: &Skew) {
    prepare(&args.as_chaos());
}

/// Runs it. The code is 1 after a violation, 130 after Ctrl-C.
///
/// # Errors
/// It could not start, or not continue.
pub async fn run(args: Chaos) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.check {
        let verdict = Recorded::load(path)?.verdict();
        println!("{verdict}");
        return Ok(if verdict.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let show = Show::new(args, About::Chaos)?;
    let line = &show.scene.line;
    if show.args.kubernetes {
        let place = Kubernetes::find(&show.args, |text| line.print(text)).await?;
        show.run(place).await
    } else {
        let place = Processes::start(PODS, None, |text| line.print(text))?;
        show.run(place).await
    }
}

/// Runs `e2e skew`. The code is as that of [`run`].
///
/// # Errors
/// As [`run`]; the programs of the last release are not there.
pub async fn run_skew(args: Skew) -> anyhow::Result<ExitCode> {
    let builds = Builds::find()?;
    let show = Show::new(args.as_chaos(), About::Skew { quick: args.quick })?;
    let line = &show.scene.line;
    line.print(&builds.to_string());
    let key = show.folder.join("peer-key");
    std::fs::create_dir_all(&key)?;
    std::fs::write(key.join("current"), format!("the key of seed {}, of more than thirty-two bytes", show.seed))?;
    let place = Processes::start(PODS, Some(Mixed { builds, key }), |text| line.print(text))?;
    show.run(place).await
}

struct Show {
    about: About,
    args: Chaos,
    seed: u64,
    folder: PathBuf,
    scene: Arc<Scene>,
    /// How it is called to be played again.
    again: String,
}

/// Why it ended.
enum Ended {
    TimeIsUp,
    Interrupted,
    /// All faults are over, but it still does not work.
    NoRecovery,
}

impl Show {
    fn new(args: Chaos, about: About) -> anyhow::Result<Show> {
        // Two of them a moment apart differ.
        let seed = args.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 % 1_000_000);
        let name = match about {
            About::Chaos => "chaos",
            About::Skew { .. } => "skew",
        };
        let folder = args
            .keep
            .clone()
            .unwrap_or_else(|| std::env::temp_dir().join(format!("leasehold-{name}-{seed}-{}", std::process::id())));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let line = TimeLine::new(&folder.join("timeline.txt"))?;
        let again = match about {
            About::Skew { quick: true } => format!("e2e skew --quick --seed {seed}"),
            About::Chaos if args.kubernetes => {
                format!("e2e chaos --kubernetes --minutes {} --seed {seed}", args.minutes)
            }
            _ => format!("e2e {name} --minutes {} --seed {seed}", args.minutes),
        };
        match about {
            About::Chaos => line.print(&format!("e2e chaos: seed {seed}, {} minutes", args.minutes)),
            About::Skew { quick: true } => line.print(&format!("e2e skew: seed {seed}, the quick one")),
            About::Skew { quick: false } => {
                line.print(&format!("e2e skew: seed {seed}, all steps, and at least {} minutes", args.minutes));
            }
        }
        let scene = Scene::new(line, seed);
        Ok(Show { about, args, seed, folder, scene, again })
    }

    async fn run(&self, place: impl Stage) -> anyhow::Result<ExitCode> {
        // Before the first client, so that no signal finds us without a handler.
        let mut signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()]
            .into_iter()
            .map(signal)
            .collect::<Result<Vec<_>, _>>()?;
        let mut signalled = std::pin::pin!(async {
            futures_util::future::select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
        });
        let scene = &self.scene;
        let refresh = async {
            loop {
                scene.set_roster(place.roster().await);
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        let mut rounds = 0;
        let (mut clients, mut watcher) = (None, None);
        let mut before = Persons::new();
        let whole = async {
            until("the cluster is whole", async || place.is_whole().await).await?;
            // Each pod's store is known then.
            until("the stores are known", async || convergence::first_look(scene).await.map(|_| ())).await?;
            before = convergence::first_look(scene).await?;
            self.ask_for_strong_reads().await;
            // The last release has no collections.
            if self.about == About::Chaos {
                watcher = Some(traders::open(scene).await?);
            }
            let mut started = Clients::start(scene, self.seed, PODS_MAX, self.args.clients);
            if self.about == About::Chaos {
                started.trade(scene, self.seed);
            }
            clients = Some(started);
            self.break_everything(&place, &mut rounds).await
        };
        let ended = tokio::select! {
            ended = whole => ended,
            () = &mut signalled => Ok(Ended::Interrupted),
            _ = refresh => Ok(Ended::Interrupted),
        };
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                place.end();
                return Err(error);
            }
        };
        scene.line.stop_measuring();
        if let Some(clients) = clients {
            clients.stop().await?;
        }
        if matches!(ended, Ended::TimeIsUp) {
            self.look_for_the_last_time(&place, &before).await;
        }
        if let Some(watcher) = watcher {
            watcher.stop().await?;
        }
        for misdeed in place.misdeeds().await {
            scene.recorder.violation(misdeed);
        }
        self.judge(place, ended, rounds).await
    }

    /// Does the store know `consistency=strong`?
    async fn ask_for_strong_reads(&self) {
        let path = format!("/persons/{}?consistency=strong", uuid::Uuid::new_v4());
        let mut knows = self.args.strong_reads == When::On;
        if let (When::Auto, Some((_, address))) = (self.args.strong_reads, self.scene.stores().first()) {
            let answer = self.scene.http.send(http::Method::GET, *address, &path, None, Duration::from_secs(10)).await;
            // A store that does not know it says 400.
            knows = answer.is_ok_and(|answer| answer.status == 404);
        }
        self.scene.strong_reads.store(knows, Ordering::Relaxed);
        self.scene.line.print(if knows {
            "clients: writes, compare-and-swap, retries under a key, strong reads, local reads"
        } else {
            "clients: writes, compare-and-swap, retries under a key, local reads; strong reads are LEFT OUT"
        });
    }

    /// Round after round, until the time is up.
    async fn break_everything(&self, place: &impl Stage, rounds: &mut u32) -> anyhow::Result<Ended> {
        let line = &self.scene.line;
        if !self.writes_go_on().await {
            return Ok(Ended::NoRecovery);
        }
        let over = Instant::now() + Duration::from_secs_f64(self.args.minutes * 60.0);
        let mut course = Course::new(self.about, self.seed, &place.kinds(), if self.args.kubernetes { 4 } else { 1 });
        let tick = async {
            loop {
                tokio::time::sleep(SUMMED_UP_EVERY).await;
                line.sum_up();
            }
        };
        let all = async {
            while let Some(round) = course.next(Instant::now() >= over) {
                *rounds = round.number;
                let (from, acknowledged, faults) = (line.elapsed(), line.acknowledged_so_far(), line.faults_so_far());
                self.carry_out(place, &round).await?;
                if !self.writes_go_on().await {
                    return Ok(Ended::NoRecovery);
                }
                if (round.settles || Instant::now() >= over) && !self.is_whole_again(place).await {
                    return Ok(Ended::NoRecovery);
                }
                if let Some(step) = round.faults.iter().find(|fault| fault.is_step()) {
                    self.scene.steps.made(Step {
                        words: step.words(None, PODS),
                        beside: (line.faults_so_far() - faults).saturating_sub(1),
                        from,
                        to: line.elapsed(),
                        acknowledged: line.acknowledged_so_far() - acknowledged,
                    });
                }
                tokio::time::sleep(round.rest).await;
            }
            let fine = self.writes_go_on().await && self.is_whole_again(place).await;
            Ok(if fine { Ended::TimeIsUp } else { Ended::NoRecovery })
        };
        tokio::select! {
            ended = all => ended,
            _ = tick => Ok(Ended::TimeIsUp),
        }
    }

    /// One round: break, wait, heal.
    async fn carry_out(&self, place: &impl Stage, round: &Round) -> anyhow::Result<()> {
        let line = &self.scene.line;
        let leader = line.leader();
        let mut procedure = None;
        line.say(&format!("round {}, for {:.1?}", round.number, round.lasts));
        for fault in &round.faults {
            let words = fault.words(leader, PODS);
            if fault.is_procedure() {
                line.say(&format!("       begins: {words}"));
                line.breaks(&words);
                procedure = Some((fault, words));
                continue;
            }
            match place.begin(fault, &self.scene).await {
                Ok(()) => {
                    line.say(&format!("       broken: {words}"));
                    line.breaks(&words);
                }
                Err(error) => line.say(&format!("       left out: {words}: {error:#}")),
            }
        }
        let healing = async {
            tokio::time::sleep(round.lasts).await;
            place.heal().await
        };
        let carrying_out = async {
            if let Some((fault, words)) = &procedure
                && let Err(error) = place.carry_out(fault, &self.scene).await
            {
                line.say(&format!("       given up: {words}: {error:#}"));
                // The cluster was whole when it began, and a step waits until what broke meanwhile is healed.
                if fault.is_step() {
                    self.scene.recorder.violation(format!("given up: {words}: {error:#}"));
                }
            }
        };
        let (healed, ()) = tokio::join!(healing, carrying_out);
        healed.context("what was broken cannot be healed")?;
        line.healed();
        line.say("       healed");
        Ok(())
    }

    /// Ten more writes of clients are acknowledged.
    async fn writes_go_on(&self) -> bool {
        let line = &self.scene.line;
        let goal = line.acknowledged_so_far() + 10;
        let healed = Instant::now();
        while line.acknowledged_so_far() < goal {
            if healed.elapsed() > RECOVERY {
                self.no_recovery(&format!("not 10 writes were acknowledged within {RECOVERY:?} after all was healed"));
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    async fn is_whole_again(&self, place: &impl Stage) -> bool {
        let healed = Instant::now();
        match until("the cluster is whole again", async || place.is_whole().await).await {
            Ok(()) => {
                self.scene.line.say(&format!("       whole again after {:.1?}", healed.elapsed()));
                true
            }
            Err(error) => {
                self.no_recovery(&format!("{error:#}"));
                false
            }
        }
    }

    fn no_recovery(&self, what: &str) {
        let what = format!("no recovery: {what}");
        self.scene.line.say(&format!("VIOLATION {what}"));
        self.scene.recorder.violation(what);
    }

    async fn look_for_the_last_time(&self, place: &impl Stage, before: &Persons) {
        self.scene.set_roster(place.roster().await);
        let mut now = None;
        let agreed = until("all replicas agree and have every acknowledged write", async || {
            now = Some(convergence::agreed(&self.scene, PODS).await?);
            Ok(())
        });
        match agreed.await {
            Ok(()) => convergence::last_look(&self.scene, before, &now.unwrap_or_default()),
            Err(error) => self.no_recovery(&format!("{error:#}")),
        }
        if self.about != About::Chaos {
            return;
        }
        let looked = async {
            if self.args.minutes >= CALM_FROM_MINUTES {
                self.scene.line.say("waiting until what is over has expired");
                convergence::calm(&self.scene).await?;
            }
            until("the collections of all replicas agree, and all their commits were seen", async || {
                convergence::collections(&self.scene, PODS).await
            })
            .await
        };
        if let Err(error) = looked.await {
            self.no_recovery(&format!("{error:#}"));
        }
    }

    async fn judge(&self, place: impl Stage, ended: Ended, rounds: u32) -> anyhow::Result<ExitCode> {
        let (line, recorder): (&TimeLine, &Recorder) = (&self.scene.line, &self.scene.recorder);
        let mut recorded = recorder.take();
        recorded.violations.extend(summary::odd_answers(&recorded));
        line.say(&format!("checking {} operations", recorded.operations.len()));
        let (recorded, verdict) = tokio::task::spawn_blocking(move || {
            let verdict = recorded.verdict();
            (recorded, verdict)
        })
        .await?;
        line.print(&summary::page(&self.scene, &recorded, &verdict, rounds, &self.again));
        let is_fine = verdict.is_fine();
        if !is_fine || self.args.keep.is_some() {
            self.keep(&recorded, &place).await;
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
        place.end();
        Ok(match ended {
            _ if !is_fine => ExitCode::FAILURE,
            Ended::Interrupted => ExitCode::from(130),
            Ended::TimeIsUp | Ended::NoRecovery => ExitCode::SUCCESS,
        })
    }

    async fn keep(&self, recorded: &Recorded, place: &impl Stage) {
        let history: &Path = &self.folder.join("history.jsonl");
        if let Err(error) = recorded.save(history) {
            eprintln!("e2e: {error:#}");
        }
        place.keep(&self.folder).await;
        let line = &self.scene.line;
        line.print(&format!("history: {} (judge it again: e2e chaos --check FILE)", history.display()));
        line.print(&format!("time line, logs and files of the pods: {}", self.folder.display()));
    }
}
