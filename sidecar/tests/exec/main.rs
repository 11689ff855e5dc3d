//! `sidecar exec` as a process, with real commands. The test plays the sidecar by writing role.json, but for `elector`.

#![allow(clippy::unwrap_used)]

mod elector;
mod ends;
mod faults;
mod languages;
mod leadership;
mod pod;
mod roots;
