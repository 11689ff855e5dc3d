//! Waiting, for tests and for what they stand on: for a condition and never for a fixed time, with a patient limit, and with
//! what was seen last when that is over.
//!
//! ```text
//!   until, until_seen                   the test fails (panics) in the end
//!   until_blocking, until_seen_blocking, until_found_blocking
//!                                       the same for tests without a runtime
//!   ask_until                           the caller gets the last error
//!   within                              the caller goes on in either case
//! ```

use std::{
    fmt::{Debug, Display},
    time::{Duration, Instant},
};

/// Waits in tests are this patient: they are about order, not about time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until it is so.
///
/// # Panics
/// It is not so within [`PATIENCE`].
pub async fn until(what: impl Display, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks until what is there is as wanted, and returns it.
///
/// # Panics
/// It is not within [`PATIENCE`]; says what it is instead.
pub async fn until_seen<T: Debug>(what: impl Display, mut look: impl FnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if wanted(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}; it stays {seen:#?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// As [`until`], for tests without a runtime.
///
/// # Panics
/// It is not so within [`PATIENCE`].
pub fn until_blocking(what: impl Display, mut is_so: impl FnMut() -> bool) {
    until_ok(|| is_so().then_some(()).ok_or(()))
        .unwrap_or_else(|()| panic!("waited {PATIENCE:?} in vain until {what}"));
}

/// As [`until_seen`], for tests without a runtime.
///
/// # Panics
/// It is not within [`PATIENCE`]; says what it is instead.
pub fn until_seen_blocking<T: Debug>(
    what: impl Display,
    mut look: impl FnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let look = || {
        let seen = look();
        if wanted(&seen) { Ok(seen) } else { Err(seen) }
    };
    until_ok(look).unwrap_or_else(|last| panic!("waited {PATIENCE:?} in vain until {what}; it stays {last:#?}"))
}

/// Looks until something is found, and returns it.
///
/// # Panics
/// Nothing is found within [`PATIENCE`]; says what is there `instead`.
pub fn until_found_blocking<T>(
    what: impl Display,
    mut find: impl FnMut() -> Option<T>,
    instead: impl FnOnce() -> String,
) -> T {
    until_ok(|| find().ok_or(()))
        .unwrap_or_else(|()| panic!("waited {PATIENCE:?} in vain until {what}; there is {}", instead()))
}

/// What it finds within [`PATIENCE`], or what it saw last.
fn until_ok<T, U>(mut find: impl FnMut() -> Result<T, U>) -> Result<T, U> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match find() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            found => return found,
        }
    }
}

/// Asks until there is no error, with a pause after each.
///
/// # Errors
/// The last one, when `patience` is over.
pub async fn ask_until<T>(
    what: impl Display,
    patience: Duration,
    pause: Duration,
    mut ask: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match ask().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("waited {patience:?} in vain until {what}")));
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}

/// Waits until it is so, but no longer than `patience`. Whether it is.
pub async fn within(patience: Duration, pause: Duration, mut is_so: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if is_so().await {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHORT: Duration = Duration::from_millis(30);
    const MOMENT: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn what_becomes_so_is_waited_for_and_returned() {
        let mut looks = 0;
        until("it was looked at three times", || {
            looks += 1;
            looks == 3
        })
        .await;
        let mut next = 0..;
        assert_eq!(until_seen("five", || next.next(), |seen| *seen == Some(5)).await, Some(5));
        let mut answers = [Err("not yet"), Ok(7)].into_iter();
        let ask = async || answers.next().unwrap().map_err(anyhow::Error::msg);
        assert_eq!(ask_until("an answer", SHORT, MOMENT, ask).await.unwrap(), 7);
        assert!(within(SHORT, MOMENT, async || true).await);
    }

    #[test]
    fn a_test_without_a_runtime_waits_as_well() {
        let looks = std::cell::Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            looks.get()
        };
        until_blocking("it was looked at twice", || look() == 2);
        assert_eq!(until_seen_blocking("four", look, |seen| *seen == 4), 4);
        assert_eq!(until_found_blocking("six", || Some(look()).filter(|seen| *seen == 6), String::new), 6);
    }

    #[tokio::test]
    async fn what_never_becomes_so_ends_with_the_last_error() {
        let mut count = 0;
        let ask = async || -> anyhow::Result<()> {
            count += 1;
            anyhow::bail!("error {count}")
        };
        let error = format!("{:#}", ask_until("it works", SHORT, MOMENT, ask).await.unwrap_err());
        assert!(count > 1 && error.ends_with(&format!("until it works: error {count}")), "{error}");
        assert!(!within(SHORT, MOMENT, async || false).await);
    }
}
