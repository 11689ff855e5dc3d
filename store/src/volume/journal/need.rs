//! When the journal wants a snapshot, and whether one fits: decided from figures alone.
//!
//! ```text
//!   the live journal is longer than max(limit, the snapshot's length)      it is time
//!   the disk is short     and a snapshot gives back more than a segment    at once
//!   memory is short       and the log takes much beside the data           at once
//! ```

/// The figures for that decision. All in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Need {
    /// The entries that no snapshot contains.
    pub(super) live: u64,
    /// The snapshot in force; 0 without one.
    pub(super) snapshot: u64,
    /// The approximate length of the next one; 0: unknown.
    pub(super) next: u64,
    /// A segment.
    pub(super) segment: u64,
    /// The live journal may be this long; raised for a while after a snapshot that could not be taken.
    pub(super) limit: u64,
    /// The disk is short of room.
    pub(super) disk_is_short: bool,
    /// The log takes too much memory.
    pub(super) log_is_large: bool,
    /// A snapshot that is to free room may be tried: the last try is long enough ago.
    pub(super) may_try: bool,
}

/// Whether a snapshot fits on the disk, beside everything that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It does.
    Fits,
    /// If a segment of the reserve is released.
    WithReserve,
    /// Not even then.
    No,
}

impl Need {
    /// Is a snapshot wanted, if it fits?
    pub(super) fn is_wanted(&self) -> bool {
        let Need { live, snapshot, next, segment, limit, disk_is_short, log_is_large, may_try } = *self;
        let is_long = live > limit.max(snapshot);
        let gives_disk_back = disk_is_short && next > 0 && live + snapshot > next + segment;
        let gives_memory_back = log_is_large && live > (next / 4).max(segment);
        is_long || may_try && (gives_disk_back || gives_memory_back)
    }

    /// Would it fit into this much free room?
    pub(super) fn fit(&self, free: u64) -> Fit {
        match free {
            free if free >= self.needs() => Fit::Fits,
            free if free + self.segment >= self.needs() => Fit::WithReserve,
            _ => Fit::No,
        }
    }

    /// The room that it needs: the estimate may be a little low, and the segment that names it needs room, too.
    pub(super) fn needs(&self) -> u64 {
        // Unknown before anything is applied: then as much as everything that is there.
        let next = if self.next == 0 { self.live + self.snapshot } else { self.next };
        next + next / 16 + self.segment / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need {
        live: 0,
        snapshot: 1000,
        next: 1000,
        segment: 100,
        limit: 500,
        disk_is_short: false,
        log_is_large: false,
        may_try: true,
    };

    #[test]
    fn a_journal_that_is_longer_than_its_limit_and_its_snapshot_wants_one() {
        assert!(!Need { live: 1000, ..NEED }.is_wanted(), "no longer than the snapshot");
        assert!(Need { live: 1001, ..NEED }.is_wanted());
        assert!(Need { live: 1001, may_try: false, ..NEED }.is_wanted(), "it is time, whatever the last try brought");
        assert!(!Need { live: 500, snapshot: 0, ..NEED }.is_wanted());
        assert!(Need { live: 501, snapshot: 0, ..NEED }.is_wanted());
    }

    #[test]
    fn on_a_short_disk_one_is_wanted_that_gives_back_more_than_a_segment() {
        let short = Need { disk_is_short: true, ..NEED };
        assert!(!Need { live: 100, ..short }.is_wanted());
        assert!(Need { live: 101, ..short }.is_wanted());
        assert!(!Need { live: 101, may_try: false, ..short }.is_wanted());
        assert!(!Need { live: 101, next: 0, ..short }.is_wanted(), "nobody knows what it would take");
    }

    #[test]
    fn short_of_memory_one_is_wanted_where_the_log_takes_much_of_it() {
        let short = Need { log_is_large: true, ..NEED };
        assert!(!Need { live: 250, ..short }.is_wanted());
        assert!(Need { live: 251, ..short }.is_wanted());
        assert!(!Need { live: 100, next: 0, ..short }.is_wanted(), "less than a segment is not worth it");
    }

    #[test]
    fn a_segment_of_the_reserve_is_given_up_only_where_that_is_enough() {
        let needs = 1000 + 62 + 50;
        assert_eq!(NEED.needs(), needs);
        assert_eq!(
            Need { live: 400, snapshot: 600, next: 0, ..NEED }.needs(),
            needs,
            "nobody knows what it would take"
        );
        assert_eq!(NEED.fit(needs), Fit::Fits);
        assert_eq!(NEED.fit(needs - 1), Fit::WithReserve);
        assert_eq!(NEED.fit(needs - 100), Fit::WithReserve);
        assert_eq!(NEED.fit(needs - 101), Fit::No);
    }
}
