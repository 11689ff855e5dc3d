//! The built binary beside plain apps: what they ask of it by HTTP.

#![allow(clippy::unwrap_used)]

mod control;
mod pod;
