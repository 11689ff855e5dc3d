//! The lowest and the highest format that this core knows, as numbers. What a format means, and when it rises, is in
//! [`formats`](crate::formats); which formats a build of the store reads is in its `src/format.rs`.

/// The highest format that this version reads, unless its shell says more (for tests).
pub const FORMAT: u32 = 1;
/// The lowest format that this version reads. Empty volumes begin with it \[C3\].
pub const FORMAT_MIN: u32 = 1;

/// What a hello, or a state, of a build says that knows nothing of formats.
pub(crate) fn lowest() -> u32 {
    FORMAT_MIN
}
