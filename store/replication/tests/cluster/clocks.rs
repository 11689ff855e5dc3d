//! The clocks of a majority: when the leader's own one may remove records \[T1\].

use super::*;

/// 2027, in milliseconds since 1970.
const THEN_MS: i64 = 1_798_761_600_000;
const SECOND: Duration = Duration::from_secs(1);

impl Cluster {
    /// Three voters in format 2; the shells of those with a clock say what time it is, every second.
    fn with_clocks(ahead_ms: [Option<i64>; 3]) -> Cluster {
        let mut cluster = Cluster::started(3);
        cluster.wall_ahead = ahead_ms.to_vec();
        cluster.run_clocks(3);
        cluster
    }

    fn run_clocks(&mut self, seconds: u32) {
        for _ in 0..seconds {
            (0..self.nodes.len()).for_each(|node| self.tell_time(node));
            self.run(SECOND);
        }
    }

    fn tell_time(&mut self, node: usize) {
        let Some(ahead) = self.wall_ahead[node] else { return };
        let ms = u64::try_from(THEN_MS + self.now.as_millis() as i64 + ahead).unwrap();
        self.queue.push_back(Event::Input(node, Input::TimeOfDay { ms }));
        self.drain_queue();
    }

    fn clocks(&self, node: usize) -> (bool, Option<Duration>) {
        let Clocks { agree, apart } = self.nodes[node].replica.clocks();
        (agree, apart)
    }

    /// The clocks in echoes that a node has sent.
    fn echoed(&self, node: usize) -> Vec<Option<u64>> {
        let times = self.sent.iter().filter(|(by, _)| *by == node).filter_map(|(_, body)| match body {
            Body::Echo { time_ms, .. } => Some(*time_ms),
            _ => None,
        });
        times.collect()
    }
}

#[test]
fn clocks_of_a_majority_agree_though_one_is_wrong() {
    for (ahead, agrees, apart) in [
        ([0, 0, 0], true, 0),
        ([0, 4_900, -4_900], true, 4_900),
        ([0, 100, 3_600_000], true, 3_600_000),
        ([0, -6_000, 3_600_000], false, 3_600_000),
        ([3_600_000, 0, 0], false, 3_600_000),
        // Two clocks are wrong alike: nobody can tell.
        ([3_600_000, 3_600_000, 0], true, 3_600_000),
    ] {
        let cluster = Cluster::with_clocks(ahead.map(Some));
        assert_eq!(cluster.clocks(0), (agrees, Some(apart * MS)), "{ahead:?}");
        assert_eq!((cluster.clocks(1), cluster.clocks(2)), ((false, None), (false, None)), "only a leader compares");
    }
}

#[test]
fn a_clock_that_is_not_known_is_none_that_agrees() {
    for (ahead, agrees) in [
        ([None, Some(0), Some(0)], false),
        ([Some(0), None, Some(0)], true),
        ([Some(0), None, None], false),
        ([Some(0), None, Some(9_000)], false),
    ] {
        let cluster = Cluster::with_clocks(ahead);
        assert_eq!(cluster.clocks(0).0, agrees, "{ahead:?}");
        assert!(cluster.echoed(1).iter().all(|time| time.is_some() == ahead[1].is_some()) || ahead[1].is_some());
    }
    let mut alone = Cluster::started(1);
    assert!(!alone.clocks(0).0);
    alone.wall_ahead = vec![Some(0)];
    alone.run_clocks(1);
    assert_eq!(alone.clocks(0), (true, None), "a lone voter needs nobody's clock");
}

#[test]
fn a_clock_that_is_set_counts_at_once() {
    let mut cluster = Cluster::with_clocks([Some(0); 3]);
    cluster.wall_ahead[0] = Some(60_000);
    // Before any echo could come: by the leader's own word.
    cluster.tell_time(0);
    assert_eq!(cluster.clocks(0), (false, Some(60_000 * MS)));
    cluster.wall_ahead[1] = Some(59_000);
    cluster.run_clocks(2);
    assert_eq!(cluster.clocks(0), (true, Some(60_000 * MS)));
    // The shell says nothing any longer: it is not known whether somebody sets the clock.
    cluster.wall_ahead = vec![None; 3];
    cluster.run_clocks(6);
    assert_eq!(cluster.clocks(0), (false, None));
}

#[test]
fn a_replica_that_is_not_heard_counts_for_nothing_and_one_that_leads_anew_asks_anew() {
    let mut cluster = Cluster::with_clocks([Some(0), Some(0), Some(7_000)]);
    assert!(cluster.clocks(0).0);
    cluster.cuts = vec![(0, 1)];
    cluster.run_clocks(2);
    assert!(!cluster.clocks(0).0, "only a clock that differs is heard");
    cluster.cuts.clear();
    cluster.run_clocks(3);
    assert!(cluster.clocks(0).0);
    cluster.lead(2, 2);
    cluster.run_until("another one leads", |c| c.nodes[2].replica.status().phase == Phase::Leading);
    assert_eq!(cluster.clocks(2), (false, None), "nothing has been measured in this term");
    cluster.run_clocks(2);
    assert_eq!(cluster.clocks(2), (false, Some(7_000 * MS)));
    assert_eq!(cluster.clocks(0), (false, None));
}

#[test]
fn no_echo_has_a_clock_before_format_2_is_in_force_on_its_connection() {
    let mut cluster = Cluster::new(3);
    for node in 0..3 {
        cluster.nodes[node].formats = (2, if node == 2 { 1 } else { 2 });
        cluster.kill(node);
        cluster.restart(node);
    }
    cluster.start();
    cluster.wall_ahead = vec![Some(0); 3];
    cluster.run_clocks(3);
    assert!(!cluster.clocks(0).0);
    let said = [cluster.echoed(1), cluster.echoed(2)].concat();
    assert!(!said.is_empty() && said.iter().all(Option::is_none), "a build of format 1 takes nine bytes alone");
    cluster.nodes[2].formats = (2, 2);
    cluster.kill(2);
    cluster.restart(2);
    cluster.run_until("format 2 is in force", |c| c.nodes.iter().all(|node| node.replica.format() == 2));
    cluster.run_clocks(2);
    assert_eq!(cluster.clocks(0), (true, Some(Duration::ZERO)));
}
