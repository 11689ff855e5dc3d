//! The built binary beside plain apps: what they ask of it by HTTP, and what it checks of them.

#![allow(clippy::unwrap_used)]

mod control;
mod health;
mod pod;
mod target;
