//! The embedded API against the real one: one suite of checks that runs on both.
//!
//! ```text
//!   CHECKS ──request──▶ Target ──kube's client──▶ embedded API (default), or a real API server (--kubeconfig)
//!      └──────answer──▶ Seen: what differed from what a real API server (1.35) was seen to answer
//! ```
//!
//! Every expectation was written from answers of a real API server. When a check fails on the embedded API, that one is
//! mended, not the check. Where the two are meant to differ, [`ACCEPTED`] says why; no check asks for that.
//!
//! Each check makes its objects under a random prefix of its own, and at the end everything under the run's prefix is
//! removed, so that a run does no harm in a namespace that is in use.

mod lease_writes;
mod lists_and_watches;
mod other_kinds;
mod seen;
mod target;
mod validation;

use std::{path::PathBuf, pin::Pin, process::ExitCode};

use crate::ApiServer;
pub use seen::Seen;
pub use target::Target;

/// Compare the embedded API, or a real one, with what a real API server was seen to answer.
#[derive(Debug, clap::Args)]
pub struct Conformance {
    /// The API server to ask; without it, the embedded API is started and asked.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The namespace, which must exist (default: the kubeconfig's; it is left unchanged).
    #[arg(long)]
    namespace: Option<String>,
}

/// What the two are meant to differ in, and why.
pub const ACCEPTED: &[(&str, &str)] = &[
    ("authentication", "the bearer token is only the client's name in faults and log"),
    ("RBAC", "every client may do everything that a test has not denied to all of them"),
    ("namespaces", "every namespace exists: a cluster of processes has no use for making one"),
    ("loopback addresses in EndpointSlices are taken", "the pods of a cluster of processes have no others"),
    ("defaults and admission of Pods and StatefulSets", "only names, labels and replicas of them are looked at"),
    ("a Pod without a node goes through its grace period", "the harness's pods have no spec.nodeName, but run"),
    ("finalizers do not hold a deletion up", "nobody here sets any"),
    (
        "what CoordinatedLeaderElection checks of a Lease",
        "only that writers keep its fields is looked at, and it is off",
    ),
    ("managedFields and server-side apply's ownership", "nobody here reads them; an apply is made a merge patch"),
    ("JSON Patch", "nobody here sends it: 415"),
    ("dryRun, fieldValidation, limit, and resourceVersion of a GET or LIST are ignored", "nobody here depends on them"),
    ("field selectors beside metadata.name and metadata.namespace", "nobody here sends them: 400"),
    ("a watch of one object by its path, YAML and protobuf bodies", "old or foreign to kube: not served"),
    ("when bookmarks come", "the API server promises none; here one comes two seconds before each watch's end"),
    ("words about JSON or numbers that cannot be read", "they are Go's; code and reason are the same"),
    (
        "times that Go reads, though they are not RFC 3339",
        "a comma, an hour of one digit, years 0 and 1, the last day of 9999",
    ),
];

/// One check.
#[derive(Clone, Copy)]
pub struct Check {
    /// What holds, as a sentence.
    pub name: &'static str,
    run: Run,
}

type Run = for<'a> fn(&'a Target, &'a mut Seen) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! checks {
    ($($name:literal => $run:path,)*) => { &[$(Check { name: $name, run: |target, seen| Box::pin($run(target, seen)) },)*] };
}

/// All checks, in the order in which they run.
pub const CHECKS: &[Check] = checks! {
    "a create gives uid, version and creation time, whatever the client says of them" => lease_writes::creates,
    "a create of an existing object is refused, and with a version always" => lease_writes::creates_twice,
    "a create with generateName gets a name" => lease_writes::creates_with_a_generated_name,
    "a replace needs the current version" => lease_writes::replaces,
    "a replace of another name, namespace or uid is refused" => lease_writes::replaces_another,
    "a replace of a missing Lease makes it, unless it names a uid" => lease_writes::replaces_what_is_missing,
    "a merge patch without a version changes what it names, and nothing takes no version" => lease_writes::patches,
    "a merge patch with a version is a compare-and-swap, and emptying it is refused" => lease_writes::patches_a_version,
    "a merge patch cannot change name, namespace, uid or kind" => lease_writes::patches_what_is_fixed,
    "a patch that is no patch is refused" => lease_writes::patches_badly,
    "a delete says what it deleted, and then there is nothing" => lease_writes::deletes,
    "a delete with preconditions is refused when they do not hold" => lease_writes::deletes_with_preconditions,
    "after delete and re-create old versions and uids are conflicts" => lease_writes::deletes_and_creates_again,
    "what is not served is 404, 405 or 415" => lease_writes::asks_for_what_is_not_served,
    "durations, transitions and types of a Lease are checked" => validation::numbers,
    "a MicroTime has six decimals, and is given back in UTC" => validation::micro_times,
    "names are DNS subdomains" => validation::names,
    "bodies that are no Lease are refused" => validation::bodies,
    "labels, annotations and owners are checked" => validation::metadata,
    "a Lease's strategy and preferredHolder are dropped" => validation::dropped_fields,
    "a patch and a replace are checked, too, after the version" => validation::updates,
    "a list is selected by fields and labels" => lists_and_watches::lists,
    "a selector that is none is refused" => lists_and_watches::lists_badly,
    "a watch from a version shows each change once and in order" => lists_and_watches::watches_from_a_version,
    "a watch shows changes as they come, and a deletion with its version" => lists_and_watches::watches_live,
    "an object that leaves a watch's selection is deleted there as it was" => lists_and_watches::watches_a_selection,
    "a watch without a version begins with what is there" => lists_and_watches::watches_from_nothing,
    "a watch ends at its time-out, and bookmarks before are not older than it" => lists_and_watches::watches_to_the_end,
    "a watch with initial events says where they end" => lists_and_watches::watches_with_initial_events,
    "a watch from a compacted version is an ERROR event with 410 Expired" => lists_and_watches::watches_too_old,
    "a watch with bad parameters is refused" => lists_and_watches::watches_badly,
    "an Event is created, its series patched, all else of it fixed" => other_kinds::events,
    "an Event must be complete" => other_kinds::events_are_checked,
    "an EndpointSlice is created, replaced with and without a version, and counts its generations" => other_kinds::slices,
    "an EndpointSlice is checked" => other_kinds::slices_are_checked,
    "a Pod's labels are patched" => other_kinds::pods,
};

/// The outcome of one check.
#[derive(Debug)]
pub struct Outcome {
    /// The check's name.
    pub name: &'static str,
    /// What differed; empty: it passed.
    pub differences: Vec<String>,
}

/// Runs all checks, one after another, and removes the objects that they made, which is an outcome, too. `each` receives
/// every outcome at once. A check that cannot be carried out is a difference.
pub async fn run_all(target: &Target, mut each: impl FnMut(&Outcome)) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (number, check) in CHECKS.iter().enumerate() {
        let mut seen = Seen::default();
        if let Err(error) = (check.run)(&target.under(number), &mut seen).await {
            seen.note(format!("could not be carried out: {error:#}"));
        }
        let outcome = Outcome { name: check.name, differences: seen.differences() };
        each(&outcome);
        outcomes.push(outcome);
    }
    let left = target.clean().await.err().map(|error| format!("{error:#}"));
    let outcome = Outcome { name: "what was made is removed again", differences: left.into_iter().collect() };
    each(&outcome);
    outcomes.push(outcome);
    outcomes
}

/// The sub-command.
///
/// # Errors
/// The kubeconfig cannot be used, or the embedded API cannot be started.
pub async fn run(args: Conformance) -> anyhow::Result<ExitCode> {
    // Lives as long as requested.
    let embedded;
    let target = match &args.kubeconfig {
        Some(file) => Target::of_kubeconfig(file, args.namespace).await?,
        None => {
            embedded = ApiServer::start(0)?;
            Target::of_embedded(&embedded, args.namespace.as_deref().unwrap_or("conformance")).await?
        }
    };
    let outcomes = run_all(&target, |outcome| {
        println!("{} {}", if outcome.differences.is_empty() { "ok    " } else { "FAILED" }, outcome.name);
        for difference in &outcome.differences {
            println!("         {difference}");
        }
    })
    .await;
    let failed = outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).count();
    println!("{} passed, {failed} failed", outcomes.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
