//! What a backup consists of, and what is decided about it. Pure: no IO, no clock, no async.
