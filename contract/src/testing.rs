//! What tests and fuzz targets need: values of role.json to begin with, and the insides. No program has it compiled in.

#[cfg(all(feature = "files", any(test, feature = "fuzz")))]
pub mod fuzz;
mod pods;

pub use pods::{alone, leader, member, role_of};
