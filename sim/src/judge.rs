//! What must never happen, at every step (`invariants` and the checks beside it), and what must finally hold (`settle`).

mod collections;
mod diverging;
mod formats;
mod invariants;
mod plain;
mod reads;
mod restoring;
mod room;
mod settle;
mod steps;
