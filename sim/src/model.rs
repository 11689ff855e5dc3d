//! The simulated world: what it contains, and what each thing is by itself. It knows neither the players nor the judges.

pub(crate) mod books;
pub(crate) mod chaos;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod data;
pub(crate) mod disk;
pub(crate) mod event;
pub(crate) mod exec;
pub(crate) mod facts;
pub(crate) mod files;
pub(crate) mod lease;
pub(crate) mod life;
pub(crate) mod network;
pub(crate) mod pod;
pub(crate) mod queue;
pub(crate) mod rng;
pub(crate) mod settings;
pub(crate) mod sidecar;
pub(crate) mod store;
pub(crate) mod trace;
