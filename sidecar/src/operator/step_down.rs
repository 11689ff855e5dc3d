//! The command `step-down`: the plain app of this pod stops leading.
//!
//! ```text
//!   control.token ──▶ POST /v1/step-down, on loopback ──▶ GET /v1/state, until somebody leads in a higher term
//! ```
//!
//! Unlike `switchover` it names no successor and needs no right at the API server: whoever can read the shared directory may.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::AUTHORIZATION;
use leasehold_contract::{CONTROL_TOKEN_FILE, Role};
use serde_json::json;

use crate::args::Config;
use crate::client::{AskError, HttpUrl, Question};
use crate::operator::fleet::{ask_own, own_address};
use crate::state::State;

/// How long the sidecar may take for its answer: longer than it waits for role.json.
const PATIENCE: Duration = Duration::from_secs(5);
/// The interval between two looks for the next leader.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// The longest answer, and the longest word.
const BYTES_MAX: usize = 64 * 1024;

/// Why it failed.
#[derive(Debug, thiserror::Error)]
pub enum StepDownError {
    /// It is not known which pod this is.
    #[error(
        "step-down is for the pod that it runs in, and --name is not set: run it there, as in \
         `kubectl exec -n {namespace} POD -c sidecar -- sidecar step-down`. Nothing was changed"
    )]
    NoPod {
        /// For the example.
        namespace: String,
    },
    /// The sidecar of this pod does not answer.
    #[error(
        "no sidecar of {name:?} answers at {address}: run this in its pod, as in \
         `kubectl exec -n {namespace} POD -c sidecar -- sidecar step-down`. Nothing was changed"
    )]
    NoSidecar {
        /// The pod's name.
        name: String,
        /// Where it was asked.
        address: String,
        /// For the example.
        namespace: String,
    },
    /// Another pod leads, or none does.
    #[error("{name} does not lead; {leader}. Nothing was changed")]
    NotLeading {
        /// The pod's name.
        name: String,
        /// Who does.
        leader: String,
    },
    /// The word is not known.
    #[error("cannot read {}: {source}; run this in a container that has the shared directory (--directory). Nothing was changed", path.display())]
    NoWord {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The answer got lost.
    #[error("the sidecar at {address} did not answer: {reason}; `sidecar status` shows whether {name} still leads")]
    NoAnswer {
        /// The pod's name.
        name: String,
        /// Where it was asked.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The sidecar refused it.
    #[error("the sidecar refused it ({status}): {reason}")]
    Refused {
        /// The status.
        status: u16,
        /// In its words.
        reason: String,
    },
    /// It is done, and nobody followed.
    #[error(
        "{name} no longer leads (term {term}), but no pod has led since, for {time_max:?}: `sidecar status` shows why"
    )]
    NobodyLeads {
        /// The pod's name.
        name: String,
        /// The term that ended.
        term: u64,
        /// How long the command waited.
        time_max: Duration,
    },
}

/// Asks for it, and waits for the next leader. Returns what to print.
pub(super) async fn run(term: Option<u64>, time_max: Duration, config: &Config) -> Result<String, StepDownError> {
    if config.name.is_empty() {
        return Err(StepDownError::NoPod { namespace: config.namespace.clone() });
    }
    let name = config.name.clone();
    let address = own_address(config).unwrap_or_default();
    let no_sidecar = || StepDownError::NoSidecar {
        name: name.clone(),
        address: address.clone(),
        namespace: config.namespace.clone(),
    };
    let before = ask_own(config).await.ok_or_else(no_sidecar)?.state;
    let term = match (term, leads_in(&before)) {
        (Some(term), _) | (None, Some(term)) => term,
        (None, None) => return Err(StepDownError::NotLeading { name, leader: leader_words(&before) }),
    };
    let url: HttpUrl = format!("http://{address}/v1/step-down").parse().map_err(|_| no_sidecar())?;
    let question = Question::post_json(&json!({ "term": term })).with(AUTHORIZATION, word(config)?);
    let no_answer = |error: AskError| StepDownError::NoAnswer {
        name: name.clone(),
        address: address.clone(),
        reason: error.to_string(),
    };
    let answer = question.ask(&url, PATIENCE, BYTES_MAX).await.map_err(no_answer)?;
    if !answer.is_success() {
        return Err(StepDownError::Refused { status: answer.status, reason: reason(&answer.body) });
    }
    let began = Instant::now();
    while began.elapsed() < time_max {
        let state = ask_own(config).await.map(|told| told.state);
        let role = state.as_ref().and_then(|state| state.role.as_ref()).filter(|role| role.term > term);
        if let Some((role, leader)) = role.and_then(|role| Some((role, role.leader.as_ref()?))) {
            let (next, next_term) = (&leader.name, role.term);
            return Ok(if *next == name {
                format!("{name} let go of term {term}, and leads again, in term {next_term}: no other pod took over\n")
            } else {
                format!("{name} no longer leads (term {term}); {next} leads, in term {next_term}\n")
            });
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Err(StepDownError::NobodyLeads { name, term, time_max })
}

fn leads_in(state: &State) -> Option<u64> {
    state.role.as_ref().filter(|role| role.role == Role::Leader).map(|role| role.term)
}

fn leader_words(state: &State) -> String {
    match (&state.role, state.leader()) {
        (Some(role), Some(leader)) => format!("{leader} does, in term {}", role.term),
        _ => "nobody is known to lead".to_owned(),
    }
}

/// What proves that this command runs beside the sidecar.
fn word(config: &Config) -> Result<HeaderValue, StepDownError> {
    let path = config.directory.clone().unwrap_or_default().join(CONTROL_TOKEN_FILE);
    let read = std::fs::read_to_string(&path).and_then(|word| {
        HeaderValue::try_from(format!("Bearer {}", word.trim())).map_err(|_| std::io::ErrorKind::InvalidData.into())
    });
    let mut word = read.map_err(|source| StepDownError::NoWord { path, source })?;
    word.set_sensitive(true);
    Ok(word)
}

/// The sentence in a refusal, which is JSON or text.
fn reason(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let error = json.as_ref().and_then(|json| json["error"].as_str()).map(str::to_owned);
    error.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}
