//! `backup`: see the library.

fn main() {}
