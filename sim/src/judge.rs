//! What must never happen, and what must come right.

pub(crate) mod invariants;
pub(crate) mod reads;
mod settle;
