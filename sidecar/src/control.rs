//! What the app beside the sidecar may ask for by HTTP, and the word that proves that it is beside it.
//!
//! ```text
//!   sidecar ──a new word──▶ control.token ──▶ the app, `sidecar step-down`
//!   POST {"term": 5}, the word ──http──▶ Request ──▶ Desk ──▶ StepDown, Released ──▶ Election
//!                              ◀── OtherTerm ─────── Desk ◀──────── Answer ────────────┘
//!                              ◀── LetGo: role.json says `leader` of that term no more ── Desk
//! ```
//!
//! The election judges the term; the desk remembers who asked, and waits for the file.
//!
//! A caller from loopback proves nothing: proxies of a mesh and `kubectl port-forward` arrive from there, too \[A7\]. Who can
//! read the shared directory is in the pod. And each request names its term, so one that arrives late ends nothing newer.

use std::path::PathBuf;

use leasehold_contract::{CONTROL_TOKEN_FILE, replace_file};
use leasehold_election::{Ending, Input, Term};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

/// Requests on their way to the election. Beyond that, a client is sent away.
const REQUESTS_MAX: usize = 16;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To let go of the leadership.
    StepDown,
    /// The same, and the app says that it has stopped leading.
    Released,
}

/// One request whose caller knows the word.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) wish: Wish,
    pub(crate) term: u64,
    pub(crate) outcome: oneshot::Sender<Outcome>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// role.json does not say that this pod leads in that term.
    LetGo,
    /// This pod neither leads nor last led in that term; nothing was done. The term in which it does, or did.
    OtherTerm(Option<u64>),
}

/// The way from HTTP to the election.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) word: Word,
    pub(crate) requests: mpsc::Sender<Request>,
}

/// That way, and its end at the election.
pub(crate) fn open(word: Word) -> (Control, mpsc::Receiver<Request>) {
    let (requests, queue) = mpsc::channel(REQUESTS_MAX);
    (Control { word, requests }, queue)
}

/// What the driver has of the requests: who waits.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// For the answer of the election, which comes in the very step that has the request.
    judged: Option<oneshot::Sender<Outcome>>,
    /// For role.json.
    waiting: Vec<(u64, oneshot::Sender<Outcome>)>,
}

impl Desk {
    /// The input for the election.
    pub(crate) fn receive(&mut self, request: Request) -> Input {
        let Request { wish, term, outcome } = request;
        self.judged = Some(outcome);
        let term = Term(term);
        match wish {
            Wish::StepDown => Input::StepDown { term },
            Wish::Released => Input::Released { term },
        }
    }

    /// What the election makes of the request that it got last.
    pub(crate) fn judge(&mut self, term: Term, ending: Ending) {
        let Some(outcome) = self.judged.take() else { return };
        match ending {
            Ending::Ends => {
                info!(%term, "a request ends the leadership");
                self.waiting.push((term.0, outcome));
            }
            Ending::IsOver => self.waiting.push((term.0, outcome)),
            Ending::OtherTerm { led } => {
                let _ = outcome.send(Outcome::OtherTerm(led.map(|led| led.0))); // the caller may have gone
            }
        }
    }

    /// Answers who waits. `leads`: the term of which role.json, as it stands in its place, says that this pod leads.
    pub(crate) fn answer(&mut self, leads: Option<u64>) {
        for (term, outcome) in std::mem::take(&mut self.waiting) {
            if leads == Some(term) {
                if !outcome.is_closed() {
                    self.waiting.push((term, outcome));
                }
            } else {
                let _ = outcome.send(Outcome::LetGo);
            }
        }
    }
}

/// The secret of one run.
#[derive(Clone)]
pub(crate) struct Word(String);

impl Word {
    /// 32 random bytes, as 64 hexadecimal digits.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn random() -> std::io::Result<Word> {
        let mut bytes = [0_u8; 32];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(Word(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The word itself: whoever has it may ask.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Is it this word? How long that takes says nothing but the length, which is known.
    pub(crate) fn is(&self, said: &[u8]) -> bool {
        let differences = self.0.bytes().zip(said).fold(0, |all, (one, other)| all | (one ^ other));
        std::hint::black_box(differences) == 0 && said.len() == self.0.len()
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Word(…)")
    }
}

/// `control.token`. Mode 0644, as the other files: the containers of a pod may run as different users, and nobody else has
/// the volume.
#[derive(Debug)]
pub(crate) struct TokenFile {
    directory: PathBuf,
    word: Word,
    is_written: bool,
    is_warned: bool,
}

impl TokenFile {
    /// Writes it.
    pub(crate) fn write(directory: PathBuf, word: Word) -> TokenFile {
        let mut file = TokenFile { directory, word, is_written: false, is_warned: false };
        file.tend();
        file
    }

    /// Writes what could not be written, or was removed. Called about once a second.
    pub(crate) fn tend(&mut self) {
        if self.is_written && self.directory.join(CONTROL_TOKEN_FILE).exists() {
            return;
        }
        let line = format!("{}\n", self.word.0);
        let written = std::fs::create_dir_all(&self.directory)
            .and_then(|()| replace_file(&self.directory, CONTROL_TOKEN_FILE, line.as_bytes()));
        self.is_written = written.is_ok();
        match written {
            Ok(()) => self.is_warned = false,
            Err(error) if !std::mem::replace(&mut self.is_warned, true) => {
                let directory = self.directory.display();
                warn!(file = CONTROL_TOKEN_FILE, %directory, %error, "cannot write a file of the shared directory; trying again");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A request of term 5, and what the election says of it.
    fn ask(desk: &mut Desk, ending: Ending) -> oneshot::Receiver<Outcome> {
        let (outcome, answer) = oneshot::channel();
        let input = desk.receive(Request { wish: Wish::StepDown, term: 5, outcome });
        assert_eq!(input, Input::StepDown { term: Term(5) });
        desk.judge(Term(5), ending);
        answer
    }

    #[test]
    fn success_is_answered_when_role_json_says_so() {
        for ending in [Ending::Ends, Ending::IsOver] {
            let mut desk = Desk::default();
            let mut answer = ask(&mut desk, ending);
            desk.answer(Some(5));
            assert!(answer.try_recv().is_err(), "role.json still says so");
            desk.answer(None);
            assert_eq!(answer.try_recv().unwrap(), Outcome::LetGo);
        }
    }

    #[test]
    fn a_refusal_is_answered_at_once() {
        for led in [Some(7), None] {
            let mut desk = Desk::default();
            let mut answer = ask(&mut desk, Ending::OtherTerm { led: led.map(Term) });
            assert_eq!(answer.try_recv().unwrap(), Outcome::OtherTerm(led));
            assert!(desk.waiting.is_empty());
        }
    }

    #[test]
    fn who_has_gone_is_not_waited_for() {
        let mut desk = Desk::default();
        drop(ask(&mut desk, Ending::Ends));
        desk.answer(Some(5));
        assert!(desk.waiting.is_empty());
    }

    #[test]
    fn a_word_is_new_each_time_and_known_only_whole() {
        let (one, other) = (Word::random().unwrap(), Word::random().unwrap());
        assert!(one.is(one.0.as_bytes()) && !one.is(other.0.as_bytes()));
        assert!(one.0.len() == 64 && one.0.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(!one.is(b"") && !one.is(&one.0.as_bytes()[..63]) && !one.is(format!("{}0", one.0).as_bytes()));
        assert!(!format!("{one:?}").contains(&one.0), "no log has it");
    }

    #[test]
    fn the_file_has_the_word_for_every_user_of_the_pod_and_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let word = Word::random().unwrap();
        let mut file = TokenFile::write(dir.path().join("run"), word.clone());
        let path = dir.path().join("run").join(CONTROL_TOKEN_FILE);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", word.0));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        std::fs::remove_file(&path).unwrap();
        file.tend();
        assert!(path.exists());
    }
}
