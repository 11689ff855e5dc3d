//! Why nothing was injected.

/// One sentence that begins with the place and says what to do. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

impl Refusal {
    pub(super) fn new(reason: String) -> Refusal {
        Refusal(reason)
    }
}
