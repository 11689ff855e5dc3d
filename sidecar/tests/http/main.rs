//! The built binary beside plain apps: what they ask of it by HTTP, what it checks of them, and what it sends.

#![allow(clippy::unwrap_used)]

mod control;
mod health;
mod listeners;
mod pod;
mod target;
