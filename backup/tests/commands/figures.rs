//! How long a restore takes. Not part of a usual run: `cargo test -p leasehold-backup --test commands figures -- --ignored --nocapture`.

use crate::fixture::Fixture;

const RECORDS: u64 = 50_000;

/// The time that the commands say themselves.
#[test]
#[ignore = "a measurement"]
fn figures_of_a_restore() {
    let mut fixture = Fixture::new();
    for n in 0..RECORDS {
        fixture.history.put(&format!("record-{n:07}"), n);
    }
    let full = fixture.history.last().0;
    for n in 0..RECORDS {
        fixture.history.put(&format!("record-{:07}", n * 7919 % RECORDS), n + 1);
    }
    let last = fixture.history.last().0;
    fixture.full(full);
    fixture.verify(full);
    for first in (full + 1..=last).step_by(1000) {
        fixture.changes(first, last.min(first + 999));
    }
    let data = tempfile::tempdir().unwrap();
    for words in ["list", "verify", "drill", &format!("restore --to {}", data.path().display())] {
        assert_eq!(fixture.run(words).code, 0);
    }
}
