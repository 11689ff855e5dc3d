//! Transcripts: each `tests/scripts/*.txt` tells a story, in commands and in everything that the replicas do about them.
//! They are read first and checked second; `tests/scripts/README.md` explains the lines.
//!
//! A test replays every script and compares. After a change that is meant:
//!
//! ```sh
//! UPDATE_GOLDENFILES=1 cargo test -p leasehold-replication --test scripts
//! ```

#![allow(unreachable_pub)]

#[path = "stage/pods.rs"]
mod pods;
#[path = "stage/words.rs"]
mod words;

use goldenscript::Context;
use leasehold_replication::{Input, Phase};
use leasehold_testkit::transcripts;
use pods::Stage;
use std::error::Error;
use std::time::Duration;

/// What a script may say. A pod is one letter.
#[derive(goldenscript::Command)]
enum Command {
    /// Pods that are wanted and start with empty volumes: `pods a b c`
    Pods {
        names: Vec<String>,
        /// A restore.json lies beside the first one's volume, with data of format 2 up to this sequence.
        #[arg(key, optional)]
        restored: u64,
        /// They are of a build that reads formats up to this one, and not up to the newest.
        #[arg(key, optional)]
        reads: u32,
        /// Entries leave the memory as soon as they are applied and durable.
        #[arg(key, optional)]
        little_memory: bool,
    },
    /// As `pods`, after a first start that is not shown; the first of them leads in term 1: `cluster a b c`
    Cluster {
        names: Vec<String>,
        #[arg(key, optional)]
        little_memory: bool,
        /// The shells keep sums of the data, so the replicas compare them.
        #[arg(key, optional)]
        sums: bool,
        /// They are of a build that reads formats up to this one, and not up to the newest.
        #[arg(key, optional)]
        reads: u32,
    },
    /// The Lease names a pod, and role.json says so on all pods or on some: `lease b 2`, `lease b 2 seen_by=bc`
    Lease {
        holder: String,
        term: u64,
        #[arg(key)]
        seen_by: Option<String>,
    },
    /// A client writes there: `write a "x"`
    Write(String, String),
    /// A client asks there for a strong read: `read b`
    Read(String),
    /// So many milliseconds pass: `run 100`
    Run(u64),
    /// The process ends without a word: `kill a`
    Kill(String),
    /// It starts (again), with its volume unchanged: `start a`
    Start(String),
    /// The next start of that pod is of a build that reads formats up to 2, of which its operator allows so much:
    /// `build a 2 allowed=2`
    Build {
        name: String,
        reads: u32,
        #[arg(key, optional)]
        allowed: u32,
    },
    /// SIGTERM: `drain a`
    Drain(String),
    /// An operator asks for a switchover, and role.json says so: `switchover b`
    Switchover(String),
    /// These two do not reach each other, and do not know it: `cut a b`
    Cut(String, String),
    /// They do again: `heal a b`
    Heal(String, String),
    /// The disk hangs: it neither writes nor fails: `disk a hangs`; `disk a works`
    Disk(String, String),
    /// The pod takes a snapshot of its own, which replaces its log: `snapshot a`
    Snapshot(String),
    /// The volume is copied aside: `copy c`
    Copy(String),
    /// The copy is put back, while the process is down: `restore c`
    Restore(String),
    /// The next entry that it applies leaves other data there than elsewhere: `damage b`
    Damage(String),
    /// One line for each pod.
    Status,
    /// The content of each volume.
    Logs,
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
            Command::Pods { names, restored, reads, little_memory } => {
                stage.restored = *restored;
                if *reads > 0 {
                    stage.formats = (*reads, *reads);
                }
                self.add(names, *little_memory)?;
            }
            Command::Cluster { names, little_memory, sums, reads } => {
                stage.sums = *sums;
                if *reads > 0 {
                    stage.formats = (*reads, *reads);
                }
                return self.first_start(names, *little_memory);
            }
            Command::Lease { holder, term, seen_by } => self.lease(holder, *term, seen_by.as_deref())?,
            Command::Write(name, text) => {
                let pod = self.running(name)?;
                self.0.write(pod, text);
            }
            Command::Read(name) => {
                let pod = self.running(name)?;
                self.0.read(pod);
            }
            Command::Run(ms) => stage.run_for(Duration::from_millis(*ms)),
            Command::Kill(name) => {
                let pod = self.running(name)?;
                self.0.kill(pod);
            }
            Command::Start(name) => {
                let pod = self.stopped(name)?;
                self.0.start(&[pod]);
            }
            Command::Build { name, reads, allowed } => {
                let pod = stage.pod(name)?;
                stage.update(pod, *reads, if *allowed == 0 { *reads } else { *allowed });
            }
            Command::Drain(name) => {
                let pod = self.running(name)?;
                self.0.input(pod, Input::Drain);
            }
            Command::Switchover(name) => {
                let pod = stage.pod(name)?;
                stage.view.hand_over_to = Some(stage.view.members[pod].name.clone());
                (0..stage.pods.len()).for_each(|pod| stage.tell_role(pod));
            }
            Command::Cut(a, b) | Command::Heal(a, b) => {
                let (a, b) = (stage.pod(a)?, stage.pod(b)?);
                stage.cut(a, b, matches!(command, Command::Cut(..)));
            }
            Command::Disk(name, what) => {
                let pod = stage.pod(name)?;
                match what.as_str() {
                    "hangs" => stage.stick(pod, true),
                    "works" => stage.stick(pod, false),
                    _ => return Err(format!("a disk hangs or works, it does not {what:?}")),
                }
            }
            Command::Snapshot(name) => {
                let pod = self.running(name)?;
                let position = self.0.take_snapshot(pod)?;
                return Ok(format!("{name} has everything up to {position} in a snapshot\n"));
            }
            Command::Copy(name) => {
                let pod = stage.pod(name)?;
                stage.copy_volume(pod);
            }
            Command::Restore(name) => {
                let pod = self.stopped(name)?;
                self.0.restore_volume(pod)?;
            }
            Command::Damage(name) => {
                let pod = self.running(name)?;
                self.0.damage(pod);
            }
            Command::Status => return Ok(stage.status()),
            Command::Logs => return Ok(stage.logs()),
        }
        Ok(String::new())
    }

    fn add(&mut self, names: &[String], little_memory: bool) -> Result<(), String> {
        let stage = &mut self.0;
        for name in names {
            stage.add(name, little_memory)?;
        }
        let all: Vec<String> = stage.pods.iter().map(|pod| pod.letter.clone()).collect();
        stage.want(&all)?;
        let new = all.len() - names.len();
        (0..new).for_each(|pod| stage.tell_role(pod));
        stage.start(&(new..all.len()).collect::<Vec<usize>>());
        Ok(())
    }

    fn lease(&mut self, holder: &str, term: u64, seen_by: Option<&str>) -> Result<(), String> {
        let stage = &mut self.0;
        let holder = stage.pod(holder)?;
        let seen_by = match seen_by {
            None => (0..stage.pods.len()).collect(),
            Some(names) => {
                names.chars().map(|letter| stage.pod(&letter.to_string())).collect::<Result<Vec<usize>, String>>()?
            }
        };
        stage.lease(holder, term, &seen_by);
        Ok(())
    }

    fn running(&self, name: &str) -> Result<usize, String> {
        let pod = self.0.pod(name)?;
        self.0.pods[pod].replica.as_ref().map(|_| pod).ok_or_else(|| format!("{name} does not run"))
    }

    fn stopped(&self, name: &str) -> Result<usize, String> {
        let pod = self.0.pod(name)?;
        if self.0.pods[pod].replica.is_some() { Err(format!("{name} runs")) } else { Ok(pod) }
    }

    /// The first start of a cluster, which has a script of its own. The clock starts at its end.
    fn first_start(&mut self, names: &[String], little_memory: bool) -> Result<String, String> {
        self.add(names, little_memory)?;
        let stage = &mut self.0;
        stage.run_for(Duration::from_millis(100));
        let all: Vec<usize> = (0..stage.pods.len()).collect();
        stage.lease(0, 1, &all);
        stage.run_for(Duration::from_millis(1900));
        let leads = stage.pods[0].replica.as_ref().map(|replica| replica.status());
        let has_all =
            leads.is_some_and(|status| status.phase == Phase::Leading && status.voters.voters.len() == all.len());
        assert!(has_all, "the first start takes longer than this: {}", stage.lines.take());
        stage.lines.take();
        stage.begin = stage.now;
        Ok(stage.status())
    }
}

#[test]
fn every_transcript_is_what_the_replicas_do() {
    transcripts::are_as_written(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_NAME"), || Runner(Stage::new()));
}

#[test]
fn a_wrong_command_is_refused_with_its_line() {
    let wrong = [
        ("pods a\nwrite b \"x\"\n---\n", "line 2: there is no pod \"b\""),
        ("pods a\nrun 1\nruns 1\n---\n", "line 3"),
        ("pods a\n\nstart a\n---\n", "line 3: a runs"),
        ("pods a\ndisk a sleeps\n---\n", "line 2: a disk hangs or works"),
    ];
    transcripts::are_refused(|| Runner(Stage::new()), &wrong);
}
