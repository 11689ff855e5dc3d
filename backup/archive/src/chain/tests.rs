use super::*;
use crate::catalog::tests::{catalog, edge};
use leasehold_replication::Sum;
use proptest::prelude::*;

fn seq(seq: u64) -> Point {
    Point::Seq(Seq(seq))
}

fn second(second: u64) -> Point {
    Point::Time(Time::from_ms(second * 1000))
}

const GAP: &str = "full 7, changes 8-12, full 20, changes 21-30";

#[test]
fn a_point_is_found_by_the_names() {
    let catalog = catalog(GAP);
    let until = |seq: u64| Until { seq: Seq(seq), time: None };
    assert_eq!(locate(&catalog, Point::Latest), Ok(until(30)));
    for inside in [7, 12, 20, 30] {
        assert_eq!(locate(&catalog, seq(inside)), Ok(until(inside)));
    }
    let time = Some(Time::from_ms(11_000));
    assert_eq!(locate(&catalog, second(11)), Ok(Until { seq: Seq(12), time }));
    assert_eq!(locate(&catalog, second(30)).map(|until| until.seq), Ok(Seq(30)));
    assert_eq!(locate(&catalog, second(20)).map(|until| until.seq), Ok(Seq(30)));
}

#[test]
fn a_point_outside_is_refused_with_both_edges() {
    let catalog = catalog(GAP);
    for inside in [seq(13), seq(19), second(12), second(19)] {
        let error = locate(&catalog, inside).unwrap_err();
        assert_eq!((error.before, error.after), (Some(edge(12)), Some(edge(20))), "{inside}");
        let text = error.to_string();
        assert!(text.contains("entry 12 (1970-01-01T00:00:12.000Z)") && text.contains("entry 20"), "{text}");
    }
    for behind in [seq(31), second(31)] {
        assert!(locate(&catalog, behind).unwrap_err().to_string().contains("behind the end of the archive, entry 30"));
    }
    for before in [seq(6), second(6)] {
        assert!(locate(&catalog, before).unwrap_err().to_string().contains("before the archive begins, with entry 7"));
    }
    assert!(locate(&Catalog::default(), Point::Latest).unwrap_err().to_string().contains("no full"));
}

/// An archive whose objects may be bad, and the walk's answers: the data at entry n have hash n.
struct World {
    catalog: Catalog,
    bad: Vec<&'static str>,
}

impl World {
    fn new(text: &str, bad: &[&'static str]) -> World {
        World { catalog: catalog(text), bad: bad.to_vec() }
    }

    fn is_bad(&self, name: &Name, kind: &str) -> bool {
        let short = match name {
            Name::Full { seq, .. } | Name::Verified { seq, .. } => format!("{kind} full {seq}"),
            Name::Changes { first, last, .. } => format!("{kind} changes {first}-{last}"),
        };
        self.bad.contains(&short.as_str())
    }

    fn walk(&self, point: Point) -> (Vec<String>, Option<u64>, Walk<'_>) {
        let mark = |seq: Seq, hash: u64| Mark { seq, time: edge(seq.0).time, hash: Sum(u128::from(hash)) };
        let mut walk = Walk::new(&self.catalog, locate(&self.catalog, point).unwrap());
        let (mut way, mut history) = (Vec::new(), 0);
        loop {
            match walk.step() {
                Step::Arrived => {
                    let at = walk.at().map(|at| at.seq.0);
                    return (way, at, walk);
                }
                Step::Lost => return (way, None, walk),
                Step::Load(full) => {
                    let name = full.name();
                    way.push(format!("full {}", full.edge.seq));
                    history = u64::from(self.is_bad(&name, "other"));
                    if self.is_bad(&name, "damaged") {
                        walk.failed(name, Fault::Damaged, "damaged".to_owned(), None);
                    } else {
                        walk.loaded(&full, mark(full.edge.seq, history));
                    }
                }
                Step::Apply(file) => {
                    let name = file.name();
                    way.push(format!("changes {}-{}", file.first, file.last.seq));
                    let at = walk.at().unwrap();
                    assert!(at.seq.0 + 1 >= file.first.0 && at.seq < file.last.seq);
                    if u64::from(self.is_bad(&name, "other")) != history {
                        walk.failed(name, Fault::OtherHistory, "other".to_owned(), Some(at));
                    } else if self.is_bad(&name, "damaged") {
                        walk.failed(name, Fault::Damaged, "damaged".to_owned(), Some(at));
                    } else {
                        let last = file.last.seq.min(walk.until.seq);
                        walk.applied(&file, mark(last, history), last < file.last.seq);
                    }
                }
            }
        }
    }
}

#[test]
fn the_way_is_the_newest_full_and_what_follows() {
    let world = World::new("full 7, changes 8-12, full 12, changes 13-20, changes 21-30", &[]);
    let (way, at, _) = world.walk(Point::Latest);
    assert_eq!((way.join(", ").as_str(), at), ("full 12, changes 13-20, changes 21-30", Some(30)));
    let (way, at, _) = world.walk(seq(25));
    assert_eq!((way.last().unwrap().as_str(), at), ("changes 21-30", Some(25)));
    let (way, at, _) = world.walk(seq(12));
    assert_eq!((way.join(", ").as_str(), at), ("full 12", Some(12)));
}

#[test]
fn what_is_damaged_gives_way_to_another_way() {
    let text = "full 7, changes 8-15, changes 8-12, full 12, changes 13-15, changes 16-30";
    let world = World::new(text, &["damaged full 12"]);
    let (way, at, walk) = world.walk(Point::Latest);
    assert_eq!((way.join(", ").as_str(), at), ("full 12, full 7, changes 8-15, changes 16-30", Some(30)));
    assert_eq!(walk.problems().len(), 1);
    let world = World::new(text, &["damaged changes 8-15", "damaged full 12"]);
    let (way, at, _) = world.walk(Point::Latest);
    assert_eq!(way.join(", "), "full 12, full 7, changes 8-15, changes 8-12, changes 13-15, changes 16-30");
    assert_eq!(at, Some(30));
    let world = World::new(text, &["damaged changes 16-30"]);
    let (_, at, walk) = world.walk(Point::Latest);
    assert_eq!(at, None);
    let gap = walk.gap(Point::Latest);
    assert_eq!((gap.before, gap.after), (Some(edge(15)), None));
}

#[test]
fn a_full_of_another_history_gives_way_to_an_older_one() {
    let text = "full 7, changes 8-12, full 12, changes 13-30";
    let world = World::new(text, &["other full 12"]);
    let (way, at, walk) = world.walk(Point::Latest);
    assert_eq!(way.join(", "), "full 12, changes 13-30, full 7, changes 8-12, changes 13-30");
    assert_eq!((at, walk.problems()[0].fault), (Some(30), Fault::OtherHistory));
    // Nothing fits: it comes to an end, and says how far it led.
    let world = World::new(text, &["other full 12", "other full 7"]);
    let (way, at, walk) = world.walk(Point::Latest);
    assert_eq!((way.len(), at), (4, None));
    assert_eq!(walk.gap(Point::Latest).before, Some(edge(12)));
}

#[test]
fn a_time_before_all_times_is_not_answered_with_what_has_none() {
    let catalog = catalog("full 7, changes 8-12");
    let unsaid = Edge { seq: Seq(3), time: Time::UNSAID };
    let said = check_time(&catalog, second(5), unsaid).unwrap_err().to_string();
    assert!(said.contains("entries up to 3 have none") && said.contains("that of entry 7 (1970"), "{said}");
    assert!(said.ends_with("as --at 3"), "{said}");
    assert_eq!(check_time(&catalog, seq(3), unsaid), Ok(()));
    assert_eq!(check_time(&catalog, second(9), edge(9)), Ok(()));
}

proptest! {
    /// Against a slow second implementation: which points can be reached.
    #[test]
    fn every_point_that_files_lead_to_is_found_and_reached(
        fulls in proptest::collection::vec(0..40_u64, 0..6),
        files in proptest::collection::vec((1..40_u64, 0..12_u64), 0..14),
        point in 0..55_u64,
    ) {
        let words: Vec<String> = fulls.iter().map(|full| format!("full {full}"))
            .chain(files.iter().map(|(first, more)| format!("changes {first}-{}", first + more))).collect();
        let catalog = catalog(&words.join(","));
        let mut reached: BTreeSet<u64> = fulls.iter().copied().collect();
        for entry in 1..60 {
            let has = files.iter().any(|(first, more)| (*first..=first + more).contains(&entry));
            if has && reached.contains(&(entry - 1)) {
                reached.insert(entry);
            }
        }
        let located = locate(&catalog, seq(point));
        prop_assert_eq!(located.is_ok(), reached.contains(&point), "{:?}", words);
        if located.is_ok() {
            let world = World { catalog, bad: Vec::new() };
            let (_, at, _) = world.walk(seq(point));
            prop_assert_eq!(at, Some(point));
        }
    }
}
