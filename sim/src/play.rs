//! What happens in the world: the cores, driven as the production shells do, what they ask for, and what breaks.
//!
//! ```text
//!   course, plain, products ─▶ run ─▶ store, sidecar ─▶ effects, disk, network, lease
//!                                 └─▶ chaos, plain_chaos, hang, room, leave, pods
//! ```

mod chaos;
mod course;
mod disk;
mod effects;
mod hang;
mod lease;
mod leave;
mod network;
mod plain;
mod plain_chaos;
mod pods;
pub(crate) mod products;
mod room;
mod run;
mod sidecar;
mod store;
