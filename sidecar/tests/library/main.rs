//! The library as a program uses it: leaderships, work that is cancelled, letting go, fitness; and its examples.

#![allow(clippy::unwrap_used)]

mod claims;
mod examples;
mod leading;
mod service;
