//! What tests and fuzz targets need of the insides. No shipped program contains it.

#[cfg_attr(not(test), allow(dead_code))]
pub(crate) mod fault_disk;
pub mod fuzz;
#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
pub(crate) mod rig;
