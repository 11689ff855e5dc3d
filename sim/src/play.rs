//! What happens in the world: it drives the cores as the production shells do, carries out their effects, and breaks
//! things.
//!
//! ```text
//!   course, plain, products ─▶ run ─▶ store, sidecar ─▶ effects, disk, network, lease
//!                                 └─▶ chaos, plain_chaos, hang, room, formats, collections, diverging, restoring, leave, pods
//! ```

mod chaos;
mod collections;
mod course;
mod disk;
mod diverging;
mod effects;
mod exec;
mod formats;
mod hang;
mod lease;
mod leave;
mod network;
mod plain;
mod plain_chaos;
mod pods;
pub(crate) mod products;
mod restoring;
mod room;
mod run;
mod sidecar;
mod store;
