//! Transcripts: each `tests/scripts/*.txt` tells a story, in commands and in everything that the elections do about them.
//! They are read first and checked second; `tests/scripts/README.md` explains the lines.
//!
//! A test replays every script and compares. After a change that is meant:
//!
//! ```sh
//! UPDATE_GOLDENFILES=1 cargo test -p leasehold-election --test scripts
//! ```

#![allow(unreachable_pub)]

#[path = "stage/pods.rs"]
mod pods;
#[path = "stage/words.rs"]
mod words;

use goldenscript::Context;
use leasehold_election::{AppState, HandOver, Input, Term, annotation};
use leasehold_testkit::transcripts;
use pods::Stage;
use std::error::Error;
use std::time::Duration;

/// What a script may say. A pod is one letter.
#[derive(goldenscript::Command)]
enum Command {
    /// Pods of an app that fences by terms; their apps have empty volumes, and there is no Lease: `fencing a b c`
    Fencing(Vec<String>),
    /// Pods of a plain app, without a Lease: `plain a b c`
    Plain(Vec<String>),
    /// As `fencing`, with volumes and a Lease: the first of them leads in term 1: `cluster a b c`
    Cluster(Vec<String>),
    /// As `plain`, with a Lease: the first of them leads in term 1: `group a b c`
    Group(Vec<String>),
    /// So many milliseconds pass: `run 100`
    Run(u64),
    /// What the app says in status.json: `app a bootstraps`, `app a recovers 1`, `app a leads 1`, `app b follows a 1`,
    /// `app b campaigns 1 rank=0`, `app a hands-over b`, `app a dies`, `app a restarts`
    App {
        pod: String,
        what: String,
        more: Option<String>,
        term: Option<u64>,
        #[arg(key, optional)]
        rank: u32,
    },
    /// The pod is gone, without a word: `kill a`
    Kill(String),
    /// It starts again: `start a`
    Start(String),
    /// SIGTERM for the sidecar: `stop a`
    Stop(String),
    /// (plain) The app wants to stop leading in that term: `step-down a 1`
    #[command(name = "step-down")]
    StepDown {
        pod: String,
        term: u64,
    },
    /// (plain) The app says that it has stopped leading in that term: `released a 1`
    Released {
        pod: String,
        term: u64,
    },
    /// (plain) What the checks of the app's health say: `unfit a`, `fit a`
    Unfit(String),
    Fit(String),
    /// The process of the sidecar stands still, and resumes: `freeze a`, `thaw a`
    Freeze(String),
    Thaw(String),
    /// The API server refuses connections, of all pods or of some, and answers again: `api down`, `api up`, `api down ab`
    Api {
        what: String,
        pods: Option<String>,
    },
    /// An operator asks for a switchover: `switchover b`
    Switchover(String),
    /// No pod may take over by itself, until `resume`.
    Pause,
    Resume,
    /// Somebody edits the Lease by hand: `edit term=9`, `edit holder=x`
    Edit {
        #[arg(key)]
        term: Option<u64>,
        #[arg(key)]
        holder: Option<String>,
    },
    /// Somebody deletes it.
    Delete,
    /// The Lease, and what each role.json says.
    Status,
}

struct Runner(Stage);

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        self.0.begin_command();
        let extra = self.carry_out(command)?;
        Ok(self.0.lines.take() + &extra)
    }
}

impl Runner {
    fn carry_out(&mut self, command: &Command) -> Result<String, String> {
        let stage = &mut self.0;
        match command {
            Command::Fencing(names) | Command::Plain(names) => {
                stage.want(names, matches!(command, Command::Plain(_)))?;
                (0..names.len()).for_each(|pod| stage.start(pod));
            }
            Command::Cluster(names) => return self.led_by_the_first(names, false),
            Command::Group(names) => return self.led_by_the_first(names, true),
            Command::Run(ms) => stage.run_for(Duration::from_millis(*ms)),
            Command::App { pod, what, more, term, rank } => {
                let pod = stage.pod(pod)?;
                self.app(pod, what, more.as_deref(), *term, *rank)?;
            }
            Command::Kill(name) => {
                let pod = self.running(name)?;
                self.0.kill(pod);
            }
            Command::Start(name) => {
                let pod = stage.pod(name)?;
                if stage.pods[pod].election.is_some() {
                    return Err(format!("{name} runs"));
                }
                stage.start(pod);
            }
            Command::Stop(name) => {
                let pod = self.running(name)?;
                self.0.input(pod, Input::Stop);
            }
            Command::StepDown { pod, term } => {
                let pod = self.running(pod)?;
                self.0.input(pod, Input::StepDown { term: Term(*term) });
            }
            Command::Released { pod, term } => {
                let pod = self.running(pod)?;
                self.0.input(pod, Input::Released { term: Term(*term) });
            }
            Command::Unfit(name) | Command::Fit(name) => {
                let pod = self.running(name)?;
                self.0.input(pod, Input::FitnessSeen(matches!(command, Command::Fit(_))));
            }
            Command::Freeze(name) | Command::Thaw(name) => {
                let pod = self.running(name)?;
                self.0.freeze(pod, matches!(command, Command::Freeze(_)));
            }
            Command::Api { what, pods } => {
                let all = || stage.pods.iter().map(|pod| pod.name.clone()).collect();
                let has_api = match what.as_str() {
                    "up" => true,
                    "down" => false,
                    _ => return Err(format!("the API server is up or down, not {what:?}")),
                };
                for name in pods.clone().unwrap_or_else(all).chars() {
                    let pod = stage.pod(&name.to_string())?;
                    stage.connect(pod, has_api);
                }
            }
            Command::Switchover(to) => {
                stage.pod(to)?;
                stage.edit(|body| {
                    body.annotations.insert(annotation::PREFERRED_HOLDER.to_owned(), to.clone());
                })?;
            }
            Command::Pause => stage.edit(|body| {
                body.annotations.insert(annotation::PAUSED.to_owned(), "true".to_owned());
            })?,
            Command::Resume => stage.edit(|body| {
                body.annotations.remove(annotation::PAUSED);
            })?,
            Command::Edit { term, holder } => stage.edit(|body| {
                body.term = term.map_or(body.term, Term);
                body.holder = holder.clone().or(body.holder.take());
            })?,
            Command::Delete => stage.delete()?,
            Command::Status => return Ok(stage.status()),
        }
        Ok(String::new())
    }

    /// What an app does that its sidecar reads.
    fn app(&mut self, pod: usize, what: &str, more: Option<&str>, term: Option<u64>, rank: u32) -> Result<(), String> {
        let stage = &mut self.0;
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok()).ok_or("a term is missing");
        match what {
            "bootstraps" => {
                stage.give_volume(pod);
                stage.app_says(pod, |status| {
                    (status.state, status.eligible) = (AppState::Follower, true);
                    (status.bootstrapping, status.campaign) = (true, Some(Term(0)));
                });
            }
            "recovers" => stage.app_promises(pod, pod, number(more)?, AppState::Recovering),
            "leads" => stage.app_promises(pod, pod, number(more)?, AppState::Leading),
            "follows" => {
                let leader = stage.pod(more.ok_or("whom does it follow?")?)?;
                stage.app_promises(pod, leader, term.ok_or("a term is missing")?, AppState::Follower);
            }
            "campaigns" => {
                let term = number(more)?;
                stage.app_says(pod, |status| {
                    (status.state, status.eligible) = (AppState::Follower, true);
                    (status.campaign, status.rank, status.leader_heard) = (Some(Term(term)), rank, false);
                });
            }
            "hands-over" => {
                let to = stage.pod(more.ok_or("to whom?")?)?;
                let hand_over =
                    HandOver { to: Some(stage.pods[to].name.clone()), incarnation: Some(stage.incarnation(to)) };
                stage.app_says(pod, |status| status.hand_over = Some(hand_over));
            }
            "dies" => stage.app_dies(pod),
            "restarts" => stage.app_restarts(pod),
            _ => return Err(format!("an app does not {what:?}")),
        }
        Ok(())
    }

    fn running(&self, name: &str) -> Result<usize, String> {
        let pod = self.0.pod(name)?;
        self.0.pods[pod].election.as_ref().map(|_| pod).ok_or_else(|| format!("{name} does not run"))
    }

    /// A quiet cluster, some time after its start, which has a script of its own. The clock starts here.
    fn led_by_the_first(&mut self, names: &[String], is_plain: bool) -> Result<String, String> {
        let stage = &mut self.0;
        stage.want(names, is_plain)?;
        stage.make_lease(0, 1);
        (0..names.len()).for_each(|pod| stage.start(pod));
        if !is_plain {
            stage.app_promises(0, 0, 1, AppState::Leading);
            (1..names.len()).for_each(|pod| stage.app_promises(pod, 0, 1, AppState::Follower));
        }
        stage.run_for(Duration::from_secs(1));
        assert!(stage.leads(0), "{}", stage.lines.take());
        stage.lines.take();
        stage.begin = stage.now;
        Ok(stage.status())
    }
}

#[test]
fn every_transcript_is_what_the_elections_do() {
    transcripts::are_as_written(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_NAME"), || Runner(Stage::new()));
}

#[test]
fn a_wrong_command_is_refused_with_its_line() {
    let wrong = [
        ("fencing a\nkill b\n---\n", "line 2: there is no pod \"b\""),
        ("fencing a\nrun 1\nruns 1\n---\n", "line 3"),
        ("fencing a\n\napp a leads\n---\n", "line 3: a term is missing"),
        ("plain a\ndelete\n---\n", "line 2: there is no Lease"),
    ];
    transcripts::are_refused(|| Runner(Stage::new()), &wrong);
}
