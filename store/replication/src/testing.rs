//! What fuzz targets need of the insides. No shipped program contains it.

pub mod fuzz;
