use super::*;
use crate::testing::{CLUSTER, History};
use leasehold_replication::Seq;
use proptest::prelude::*;
use uuid::Uuid;

const END: Until = Until { seq: Seq::MAX, time: None };

fn history(writes: &[u8]) -> History {
    let mut history = History::default();
    for (at, write) in writes.iter().enumerate() {
        let id = format!("r{}", write % 5);
        match write % 7 {
            0 => history.delete(&id),
            1 => history.idle(),
            _ => history.put(&id, at as u64),
        };
    }
    history
}

/// Five entries: the definition, and four writes.
fn written() -> History {
    history(&[2, 3, 4, 5])
}

fn at(history: &History, seq: u64) -> Replay {
    Replay::new(history.at(Seq(seq)).clone())
}

fn follow_bytes(bytes: &[u8], replay: &mut Replay, until: Until) -> Result<Followed, Stopped> {
    follow(&mut ChangesReader::open(bytes).unwrap(), CLUSTER, replay, until, &mut |_, _| ())
}

#[test]
fn a_file_is_joined_at_the_data_and_followed_to_the_point() {
    let history = written();
    let (_, bytes) = history.changes(Seq(2), Seq(5));
    let mut replay = at(&history, 3);
    let followed = follow_bytes(&bytes, &mut replay, END).unwrap();
    assert_eq!((followed.entries, followed.is_done), (2, false));
    assert_eq!(mark_of(&replay), history.mark(Seq(5)));
    let mut replay = at(&history, 1);
    assert!(follow_bytes(&bytes, &mut replay, Until { seq: Seq(3), time: None }).unwrap().is_done);
    assert_eq!(mark_of(&replay), history.mark(Seq(3)));
    let mut replay = at(&history, 1);
    let time = Some(Time::from_ms(history.mark(Seq(4)).time.ms() + 999));
    assert!(follow_bytes(&bytes, &mut replay, Until { seq: Seq(5), time }).unwrap().is_done);
    assert_eq!(mark_of(&replay), history.mark(Seq(4)));
}

#[test]
fn another_history_is_refused_and_the_data_stay() {
    let history = written();
    let other = self::history(&[2, 3, 5, 5]);
    let (_, bytes) = other.changes(Seq(2), Seq(5));
    for seq in [4, 5] {
        let mut replay = at(&history, seq);
        let stopped = follow_bytes(&bytes, &mut replay, END).unwrap_err();
        assert_eq!(stopped.fault, Fault::OtherHistory);
        assert!(stopped.why.contains("another history"), "{stopped:?}");
        assert_eq!(mark_of(&replay), history.mark(Seq(seq)));
    }
    let mut replay = at(&history, 1);
    let cluster = ClusterId(Uuid::from_u128(1));
    let stopped =
        follow(&mut ChangesReader::open(&bytes[..]).unwrap(), cluster, &mut replay, END, &mut |_, _| ()).unwrap_err();
    assert_eq!(stopped.fault, Fault::OtherHistory);
}

#[test]
fn a_file_that_is_cut_off_leads_as_far_as_it_is_good() {
    let history = written();
    let (_, bytes) = history.changes(Seq(2), Seq(5));
    let mut replay = at(&history, 1);
    let cut = bytes.len() - 150;
    let stopped = follow_bytes(&bytes[..cut], &mut replay, END).unwrap_err();
    assert_eq!(stopped.fault, Fault::Damaged);
    assert!(replay.position() > Seq(1));
    assert_eq!(mark_of(&replay), history.mark(replay.position()));
}

#[test]
fn a_change_that_is_not_what_the_hash_says_is_found_and_undone() {
    let history = written();
    let (_, bytes) = history.changes(Seq(2), Seq(5));
    let text = String::from_utf8(bytes).unwrap();
    for (from, to) in [("\"n\":1}", "\"n\":7}"), ("\"number\":2", "\"number\":3"), ("\"created\"", "\"deleted\"")] {
        assert!(text.contains(from), "{text}");
        let mut replay = at(&history, 1);
        let stopped = follow_bytes(text.replace(from, to).as_bytes(), &mut replay, END).unwrap_err();
        assert_eq!(stopped.fault, Fault::Damaged);
        assert_eq!(mark_of(&replay), history.mark(replay.position()), "{stopped:?}");
    }
}

#[test]
fn entries_that_change_nothing_are_passed() {
    let history = history(&[2, 1, 1, 3, 1, 1]);
    let (_, bytes) = history.changes(Seq(2), Seq(7));
    for seq in 1..=7 {
        let mut replay = at(&history, 1);
        follow_bytes(&bytes, &mut replay, Until { seq: Seq(seq), time: None }).unwrap();
        assert_eq!(replay.position(), Seq(seq));
        assert_eq!(replay.data_sum(), history.mark(Seq(seq)).hash);
    }
    // At each of them another file may take over.
    for seq in 2..7 {
        let mut replay = at(&history, seq);
        follow_bytes(&bytes, &mut replay, END).unwrap();
        assert_eq!(mark_of(&replay), history.mark(Seq(7)));
    }
}

proptest! {
    /// From any full over any files to any entry: the data are those that the cluster had.
    #[test]
    fn the_data_are_those_that_the_cluster_had(
        writes in proptest::collection::vec(any::<u8>(), 1..30),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        cuts in proptest::collection::vec((1..8_u64, 0..3_u64), 1..30),
    ) {
        let history = history(&writes);
        let last = history.last().0;
        let from = from.index(last as usize + 1) as u64;
        let to = from + to.index((last - from) as usize + 1) as u64;
        let mut replay = at(&history, from);
        for (length, overlap) in cuts.into_iter().cycle() {
            let at = replay.position().0;
            if at >= to {
                break;
            }
            let first = (at + 1).saturating_sub(overlap).max(1);
            let (_, bytes) = history.changes(Seq(first), Seq((at + length).min(last)));
            follow_bytes(&bytes, &mut replay, Until { seq: Seq(to), time: None }).unwrap();
        }
        prop_assert_eq!(replay.position(), Seq(to));
        prop_assert_eq!(replay.data_sum(), history.mark(Seq(to)).hash);
    }
}
