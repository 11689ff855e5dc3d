//! `sidecar inject`: gives a workload of a YAML stream the sidecar, and the stream the objects that it needs.
//!
//! ```text
//!   text ──document──▶ trees ──workload──▶ the one to change, or why not
//!                                │
//!             account, pod, rights: what must be there ──compared with what is──▶ [Change]
//!                                │
//!   text ◀──edit: bytes changed, read again, compared with what was meant──┘
//! ```
//!
//! Pure: text in, text out. All that is not ours keeps its bytes, comments and order. What is there as it must be is not
//! touched, so the output as input comes out unchanged. In doubt nothing is written: a [`Refusal`] says why.
//!
//! Ours is what has the mark: on the workload the annotation `leasehold.dev/injected` with the Lease's name, on objects the
//! label `app.kubernetes.io/managed-by: sidecar-inject`. The Lease has metadata alone, and no annotation of ours: so it is
//! one that nobody ever held. `<lease>.first` is in no manifest.

mod account;
mod document;
mod edit;
mod mark;
mod piece;
mod pod;
mod refusal;
mod rights;
mod sidecar;
#[cfg(test)]
mod tests;
mod workload;
mod wrap;

use document::read;
use edit::{Change, apply};
use pod::Pod;
pub use refusal::Refusal;

use crate::args::Injection;

/// The stream with one workload injected. Everything else of it is unchanged, byte by byte; new objects stand at its end.
///
/// # Errors
/// The text is no YAML; no workload, or none of several, is chosen; or the chosen one cannot be injected.
pub fn inject(stream: &str, injection: &Injection) -> Result<String, Refusal> {
    let documents = read(stream)?;
    let chosen = workload::choose(&documents, injection)?;
    let pod = Pod::of(&documents, &chosen, injection)?;
    let rights = rights::of(&documents, &chosen, pod.account(), injection)?;
    let mut changes: Vec<(usize, Vec<Change>)> = vec![(chosen.document, pod.changes())];
    changes.extend(rights.changed);
    apply(stream, &documents, &changes, &rights.added)
}
