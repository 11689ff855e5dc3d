//! What must never happen, at every step (`invariants` and what looks beside it), and what must come right (`settle`).

mod invariants;
mod plain;
mod reads;
mod room;
mod settle;
mod steps;
