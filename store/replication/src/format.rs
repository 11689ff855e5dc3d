//! The lowest and the highest format that this core knows, as numbers. What a format means, and when it rises, is in
//! [`formats`](crate::formats); which formats a build of the store reads is in `store/documents/src/format.rs`.

/// The highest format that this version reads, unless its shell says more (for tests).
pub const FORMAT: u32 = 2;
/// The lowest format that this version reads. The first segment of an empty volume has it \[C3\].
pub const FORMAT_MIN: u32 = 1;

/// From this format on an echo may carry a clock.
pub(crate) const CLOCKS: u32 = 2;

/// What a build reads that knows the formats up to this one, in words: "only format 1", or "formats 1 to 3".
pub fn readable(max: u32) -> String {
    match max {
        ..=FORMAT_MIN => format!("only format {max}"),
        _ => format!("formats {FORMAT_MIN} to {max}"),
    }
}

/// What a hello, or a state, of a build says that knows nothing of formats.
pub(crate) fn lowest() -> u32 {
    FORMAT_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_format_is_not_said_as_a_range() {
        assert_eq!(readable(1), "only format 1");
        assert_eq!(readable(2), "formats 1 to 2");
        assert_eq!(readable(3), "formats 1 to 3");
    }
}
