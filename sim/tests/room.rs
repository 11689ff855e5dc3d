//! Memory and disks that run short, one, some and all: nothing is written to a full disk, nothing grows far over a limit,
//! deletes and reads continue, and everything recovers when there is room again.
#![allow(clippy::unwrap_used)]

use leasehold_sim::{Options, run};
use std::time::Duration;

#[test]
fn short_of_room_the_cluster_lives_and_comes_right() {
    let (mut acknowledged, mut refused) = (0, 0);
    for seed in 0..60 {
        let options =
            Options { room: true, chaos: Some(Duration::from_secs(10)), trace_lines: 200, ..Options::default() };
        let summary = run(seed, &options).unwrap_or_else(|failure| panic!("{failure}"));
        acknowledged += summary.acknowledged;
        refused += summary.refused;
    }
    assert!(acknowledged > 1000 && refused > 1000, "{acknowledged} acknowledged and {refused} refused try too little");
}
