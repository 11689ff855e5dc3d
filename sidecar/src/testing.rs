//! What fuzz targets need of the insides. No program has it compiled in.

pub mod fuzz;
