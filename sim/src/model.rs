//! The made-up world: what there is in it, and what each thing is by itself.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod disk;
pub(crate) mod files;
pub(crate) mod rng;
pub(crate) mod settings;
pub(crate) mod trace;
