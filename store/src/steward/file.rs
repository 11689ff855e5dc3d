//! The file of definitions (`--collections-file`): read at the start, applied by the leader.
//!
//! ```text
//!   every second, on the leader, if its pod is of the newest revision
//!      CollectionsFile::next ──Define──▶ log ──▶ in force │ pending │ refused: reported, not tried again
//!                            ──Note────▶ log ──▶ nothing is done any more until the file is another one
//! ```
//!
//! An older pod that leads during an update has the older file, and must not apply that. What is refused is a log line,
//! a metric, a part of `GET /api/status`, and, through status.json, an Event of the sidecar.

use super::proposal::{STEP_MAX, propose};
use crate::api::definitions::{declined, why_refused};
use crate::handle::Handle;
use crate::schema::Schema;
use crate::telemetry::{FileCounts, Metrics};
use crate::wall_clock;
use leasehold_contract::RoleFile;
use leasehold_documents::{
    CollectionsFile, Define, Definition, DefinitionCondition, DefinitionError, Documents, FileStep, NO_FILE, Outcome,
    Standing, Work,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("--collections-file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// It is not a file of definitions.
    #[error("--collections-file {}{}: {source}", path.display(), place(&source.pointer))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        #[source]
        source: DefinitionError,
    },
}

fn place(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!(", at {pointer}") }
}

/// Reads the file, as strictly as a client's definitions are read. May take long: it compiles their schemas.
///
/// # Errors
/// [`FileError`].
pub fn read(path: &Path) -> Result<Arc<CollectionsFile>, FileError> {
    let wrong = |source| FileError::Wrong { path: path.to_owned(), source };
    let text =
        std::fs::read_to_string(path).map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
    let file = CollectionsFile::parse(&text).map_err(wrong)?;
    for (name, definition) in file.definitions() {
        if let Some(schema) = &definition.schema {
            Schema::compile(schema).map_err(|DefinitionError { pointer, what }| {
                wrong(DefinitionError { pointer: format!("/{name}{pointer}"), what })
            })?;
        }
    }
    Ok(Arc::new(file))
}

/// For `GET /api/status`: whether the file was applied, and how each of its definitions stands.
pub fn shown(file: &CollectionsFile, documents: &Documents) -> Value {
    let states = file.standings(documents).map(|(name, standing)| (name.to_owned(), word(standing).into()));
    json!({ "applied": is_noted(file, documents), "definitions": states.collect::<Map<String, Value>>() })
}

fn is_noted(file: &CollectionsFile, documents: &Documents) -> bool {
    documents.noted_file() == Some(file.hash())
}

fn word(standing: Standing<'_>) -> &'static str {
    match standing {
        Standing::InForce => "in-force",
        Standing::Pending => "pending",
        Standing::Refused(_) | Standing::Immutable => "refused",
        Standing::Differs => "differs",
    }
}

fn counts(file: &CollectionsFile, documents: &Documents) -> FileCounts {
    let mut counts = FileCounts { applied: is_noted(file, documents), ..FileCounts::default() };
    for (_, standing) in file.standings(documents) {
        match standing {
            Standing::InForce => counts.in_force += 1,
            Standing::Pending => counts.pending += 1,
            Standing::Refused(_) | Standing::Immutable => counts.refused += 1,
            Standing::Differs => counts.differing += 1,
        }
    }
    counts
}

/// The file of this pod, and what the steward needs to apply it.
pub struct Applier {
    handle: Handle,
    file: Arc<CollectionsFile>,
    /// The pod's revision of its StatefulSet; empty where there is none.
    revision: String,
    metrics: Metrics,
    /// What was proposed since this replica leads, and decided. A change that was pending and then refused is among it: while
    /// the note has to wait, it must not be tried again and again.
    tried: BTreeSet<String>,
    /// What of that was refused at once, and why.
    refused: BTreeMap<String, String>,
    /// What was logged last, so that each thing is said once.
    said: Option<String>,
}

impl Applier {
    /// Of this replica.
    pub fn new(handle: Handle, file: Arc<CollectionsFile>, revision: &str, metrics: Metrics) -> Applier {
        let (revision, tried, refused) = (revision.to_owned(), BTreeSet::new(), BTreeMap::new());
        Applier { handle, file, revision, metrics, tried, refused, said: None }
    }

    /// What is to be done now.
    pub(super) async fn look(&mut self) {
        if !self.handle.leads() {
            self.tried.clear();
            self.refused.clear();
            self.said = None;
            self.handle.tell_refused_definitions(None);
        } else if let Some(role) = self.handle.role() {
            if is_newest(&self.revision, &role) {
                while self.step().await {}
                self.report();
            } else if role.newest_revision.is_some() && !self.next_is_nothing() {
                self.say_once("not applying the collections file: this pod is not of the newest revision");
            }
        }
        self.metrics.collections_file(counts(&self.file, &self.handle.documents()));
    }

    fn next_is_nothing(&self) -> bool {
        self.file.next(&self.handle.documents(), &BTreeSet::new()) == FileStep::Nothing
    }

    /// One definition. False: nothing more can be done in this second.
    async fn step(&mut self) -> bool {
        if self.next_is_nothing() || !self.handle.leads() {
            return false;
        }
        // What an earlier leader committed may not be applied here yet: its note of this file, and what somebody changed
        // after that.
        if let Err(error) = self.handle.read_index(Instant::now() + STEP_MAX).await {
            debug!(%error, "cannot apply the collections file yet");
            return false;
        }
        let (file, documents) = (self.file.clone(), self.handle.documents());
        match file.next(&documents, &self.tried) {
            FileStep::Nothing => false,
            FileStep::Wait => {
                self.say_once("the collections file waits: another change of one of its definitions is pending");
                false
            }
            FileStep::Begin => self.note(NO_FILE).await,
            FileStep::Note => {
                let is_noted = self.note(file.hash()).await;
                if is_noted {
                    let (definitions, refused) = (file.definitions().count(), self.refused.len());
                    info!(definitions, refused, "the collections file is applied");
                }
                is_noted
            }
            FileStep::Define { name, definition } => self.define(&documents, name, definition).await,
        }
    }

    /// False: it was not noted, or nobody knows.
    async fn note(&self, hash: u128) -> bool {
        match propose(&self.handle, Work::NoteFile { hash }).await {
            Some(Outcome::Stepped) => true,
            Some(outcome) => {
                error!(?outcome, "noting the collections file had an impossible outcome");
                false
            }
            None => false,
        }
    }

    async fn define(&mut self, documents: &Documents, name: &str, definition: Definition) -> bool {
        let now_ms = wall_clock::now_ms();
        let text = definition.to_json();
        let examined = documents.collection(name).cloned();
        // It looks at every record. As for a client's definition, before the log.
        let over = tokio::task::spawn_blocking(move || {
            examined.map_or(0, |collection| collection.would_expire(&definition, now_ms))
        });
        let outcome = match over.await {
            Ok(0) => {
                let condition = DefinitionCondition::None;
                let define = Define { collection: name, definition: &text, condition, unless_expired_ms: Some(now_ms) };
                propose(&self.handle, Work::Define(define)).await
            }
            Ok(over) => Some(Outcome::WouldExpire(over)),
            Err(error) => {
                error!(collection = name, %error, "counting what a definition of the collections file would remove failed");
                return false;
            }
        };
        match outcome {
            None => false,
            // The next look waits for it.
            Some(Outcome::DefinitionPending) => true,
            Some(outcome) if outcome.is_done() => {
                let is_pending = outcome == Outcome::Pending;
                info!(collection = name, is_pending, "defined as the collections file has it");
                self.tried.insert(name.to_owned());
                self.handle.tell_change_begun();
                true
            }
            Some(outcome) => {
                let why = declined(&outcome, name).detail().to_owned();
                warn!(collection = name, why, "a definition of the collections file was refused");
                self.tried.insert(name.to_owned());
                self.refused.insert(name.to_owned(), why);
                true
            }
        }
    }

    /// What of the file is not in force because it was refused: for status.json, and once for the log.
    fn report(&mut self) {
        let documents = self.handle.documents();
        let is_noted = is_noted(&self.file, &documents);
        let refusals = self.file.standings(&documents).zip(self.file.definitions());
        let refusals = refusals.filter_map(|((name, standing), (_, wanted))| {
            let why = match standing {
                Standing::InForce | Standing::Pending => None,
                Standing::Refused(why) if is_noted => Some(why_refused(why, wanted).detail().to_owned()),
                Standing::Immutable if is_noted => Some(declined(&Outcome::Immutable, name).detail().to_owned()),
                Standing::Refused(_) | Standing::Immutable | Standing::Differs => self.refused.get(name).cloned(),
            };
            why.map(|why| format!("{name}: {why}"))
        });
        let refusals: Vec<String> = refusals.collect();
        let words = (!refusals.is_empty()).then(|| {
            format!(
                "definitions of --collections-file are not in force, and are not tried again before the file changes: {}",
                refusals.join("; ")
            )
        });
        match &words {
            Some(words) => self.say_once(words),
            None if is_noted => self.said = None,
            None => {}
        }
        self.handle.tell_refused_definitions(words);
    }

    fn say_once(&mut self, words: &str) {
        if self.said.as_deref() != Some(words) {
            warn!("{words}");
            self.said = Some(words.to_owned());
        }
    }
}

/// Is a pod of that revision one of those to which the StatefulSet is being updated? Without a StatefulSet there are no
/// revisions.
fn is_newest(revision: &str, role: &RoleFile) -> bool {
    role.newest_revision.as_deref().unwrap_or_default() == revision
}
