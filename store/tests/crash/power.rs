//! The power goes at any moment: what was reported to the writer is there, whatever the disk kept of the rest.
//!
//! ```text
//!   generation: a volume ──▶ a few lives of the writer, each killed at some call (the page cache stays \[S2\])
//!               log ──▶ at random calls of it: states that a power loss may leave ──▶ a start on each, checked
//!                                              one of them ──▶ the volume of the next generation
//! ```

use super::model::Told;
use super::random::Random;
use super::shim::Shim;
use super::trace;
use super::world::World;
use super::writer::{command, open};
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

const GENERATIONS: u64 = 3;
const LIVES: u64 = 4;
/// States that are tried in a generation.
const STATES: u64 = 60;

#[test]
fn after_a_power_loss_at_any_moment_a_start_finds_all_that_was_told() {
    let rounds = 2 * super::rounds();
    let (mut starts, mut acknowledged) = (0, 0);
    for round in 0..rounds {
        let mut random = Random::new(1 + round);
        let mut root = super::scratch();
        let mut told = Told::nothing();
        for generation in 0..GENERATIONS {
            let begun = World::of(root.path());
            let logs = super::scratch();
            let log = logs.path().join("log");
            let Some(shim) = Shim::new(root.path(), &log) else { return };
            for life in 0..LIVES {
                live(&shim, 1 + round * 1000 + generation * 10 + life, &mut random);
            }
            let events = trace::read(&log);
            let next = super::scratch();
            let mut last = None;
            let mut moments: Vec<u64> = (0..STATES).map(|_| random.below(events.len() as u64)).collect();
            moments.sort_unstable();
            let mut moments = moments.into_iter().peekable();
            let mut world = begun;
            for (at, event) in events.iter().enumerate() {
                if *event == trace::Event::Start {
                    world.process_ended();
                }
                world.apply(event);
                told.hear(event);
                while moments.next_if_eq(&(at as u64)).is_some() {
                    let left = super::scratch();
                    world.power_loss(&mut random, left.path());
                    if moments.peek().is_none() {
                        // This one continues. (The start that checks it would change it.)
                        copy(left.path(), next.path());
                    }
                    let said = format!("round {round}, generation {generation}, after call {at} of {}", events.len());
                    let (found, _) = open(&left.path().join("data")).unwrap_or_else(|error| panic!("{said}: {error}"));
                    let model = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| told.check(&found)));
                    let model = model.unwrap_or_else(|_| panic!("{said}: see above"));
                    last = Some((found.replica, model));
                    found.journal.close();
                }
            }
            world.assert_seen_whole();
            starts += told.starts;
            acknowledged += told.acknowledged;
            let (replica, model) = last.expect("some states were tried");
            // A volume without replica.json gets another identity at each start.
            let kept = next.path().join("data/replica.json").exists();
            told = Told::found(replica, model);
            told.replica = told.replica.filter(|_| kept);
            root = next;
        }
    }
    let enough = starts as u64 > 4 * rounds && acknowledged as u64 > 50 * rounds;
    assert!(enough, "{starts} starts and {acknowledged} told in {rounds} rounds: too little was tried");
}

/// One life of the writer, which ends by kill -9 at some call, or in good order.
fn live(shim: &Shim, seed: u64, random: &mut Random) {
    let mut command = command(&shim.root.join("data"), seed, 150);
    shim.around(&mut command);
    let most = if random.below(4) == 0 { 60 } else { 900 };
    command.env("CRASH_KILL", (1 + random.below(most)).to_string());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The log has what it says; the pipe must not fill up.
    let mut said = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    let mut cried = String::new();
    child.stderr.take().unwrap().read_to_string(&mut cried).unwrap();
    let ended = child.wait().unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert!(ended.success() || ended.signal() == Some(9), "{ended}: {cried}");
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}
