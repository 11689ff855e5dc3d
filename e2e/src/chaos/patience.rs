//! How long a run waits for what must come.

use std::time::Duration;

/// After everything is healed: within this time writes must be acknowledged again, and the cluster whole again. Generous: a
/// slow machine is no violation.
pub(super) const RECOVERY: Duration = Duration::from_secs(180);

/// Asks until there is no error, or [`RECOVERY`] is over.
///
/// # Errors
/// The last one.
pub(super) async fn until(what: &str, ask: impl AsyncFnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    leasehold_testkit::ask_until(what, RECOVERY, Duration::from_millis(50), ask).await
}
