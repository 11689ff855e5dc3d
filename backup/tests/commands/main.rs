//! The program itself, on archives in folders: what it prints, and with which code it ends.
#![allow(clippy::unwrap_used)]

mod figures;
mod fixture;
mod reading;
mod restoring;
mod store;
mod tools;
