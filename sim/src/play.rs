//! What happens in the world: the cores, driven as the production shells do, and what breaks.

pub(crate) mod chaos;
mod effects;
pub(crate) mod hang;
pub(crate) mod lease;
mod leave;
pub(crate) mod network;
mod plain;
pub(crate) mod plain_chaos;
pub(crate) mod products;
mod room;
pub(crate) mod sidecar;
pub(crate) mod store;
