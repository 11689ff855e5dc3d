//! Counts failures in a row: three make an app unfit, and one success fit.

/// So many failures in a row make the app unfit.
pub(crate) const FAILURES_MAX: u32 = 3;

/// Counts failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) failures: u32,
}

impl Count {
    /// Of an app that was not looked at: unfit, until the first success.
    pub(super) fn new() -> Count {
        Count { failures: FAILURES_MAX }
    }

    /// Of an app that nothing is known against.
    pub(super) fn fit() -> Count {
        Count { failures: 0 }
    }

    pub(super) fn note(&mut self, is_success: bool) {
        self.failures = if is_success { 0 } else { self.failures.saturating_add(1) };
    }

    pub(super) fn is_fit(self) -> bool {
        self.failures < FAILURES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_make_it_unfit_and_one_success_fit() {
        let mut count = Count::new();
        assert!(!count.is_fit(), "unfit until the first success");
        let looks = [
            (false, false),
            (true, true),
            (false, true),
            (false, true),
            (true, true),
            (false, true),
            (false, true),
            (false, false),
            (false, false),
            (true, true),
        ];
        for (number, (is_success, is_fit)) in looks.into_iter().enumerate() {
            count.note(is_success);
            assert_eq!(count.is_fit(), is_fit, "after look {number}");
        }
    }
}
