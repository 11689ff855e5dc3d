//! What fuzz targets need of the insides. No program has it compiled in.

pub mod fuzz;
#[cfg(test)]
pub(crate) mod golden;
