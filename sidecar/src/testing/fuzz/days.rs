//! Scripts for [`super::lease`] from a seed: cases that a fuzzer seldom finds, because JSON and names must fit first.

use serde_json::{Map, Value, json};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn yes(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    fn id(&mut self) -> String {
        let last = self.of(&["0a", "0a", "0b", "0c"]);
        format!("00000000-0000-0000-0000-0000000000{last}")
    }

    fn cluster(&mut self) -> String {
        let last = if self.yes(12) { "c2" } else { "c1" };
        format!("00000000-0000-0000-0000-0000000000{last}")
    }

    fn term(&mut self) -> u64 {
        if self.yes(12) {
            return self.of(&[2_147_483_646, 2_147_483_647, 2_147_483_648, 1_000_005, u64::MAX]);
        }
        self.below(7) as u64
    }

    fn pod(&mut self) -> &'static str {
        self.of(&["db-0", "db-0", "db-1", "db-2", "db-9"])
    }
}

/// One script.
pub(super) fn day(seed: u64) -> String {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut lines = vec![random.of(&["p", "f"]).to_owned(), "m 3".to_owned()];
    for _ in 0..10 + random.below(60) {
        lines.push(line(&mut random));
    }
    lines.join("\n")
}

fn line(random: &mut Random) -> String {
    match random.below(24) {
        0..=2 => format!("l {}", lease(random)),
        3 | 4 => format!("r {}", lease(random)),
        5 => format!("W {}", lease(random)),
        6..=9 => "w".to_owned(),
        10..=13 => format!("s {}", status(random)),
        14..=18 => format!("t {}", random.of(&[0, 1, 100, 333, 1000, 5000, 10_000, 16_000, 61_000, 4_000_000])),
        19 => format!("m {}", random.below(5)),
        20 if random.yes(8) => "z".to_owned(),
        _ => random.of(&["c", "u", "x", "d", "n", "n", "e", "e", "k", "q", "o"]).to_owned(),
    }
}

fn lease(random: &mut Random) -> Value {
    let mut annotations = Map::new();
    let mut annotate = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            annotations.insert(format!("leasehold.dev/{name}"), value.into());
        }
    };
    let odd = |random: &mut Random, value: String| match random.below(10) {
        0 => None,
        1 => Some("x".to_owned()),
        _ => Some(value),
    };
    let id = random.id();
    annotate("incarnation", odd(random, id));
    let cluster = random.cluster();
    annotate("cluster-id", odd(random, cluster));
    annotate("address", random.yes(2).then(|| "10.0.0.9:80".to_owned()));
    annotate("preferred-holder", random.yes(6).then(|| random.pod().to_owned()));
    annotate("paused", random.yes(8).then(|| random.of(&["true", "yes"]).to_owned()));
    let version = match random.below(12) {
        0 => Value::Null,
        1 => json!("x"),
        _ => json!(random.below(40).to_string()),
    };
    let pod = random.pod();
    let holder = if random.yes(5) { Value::Null } else { json!(random.of(&[pod, pod, pod, ""])) };
    let term = i32::try_from(random.term()).map_or(json!(-1), |term| json!(term));
    let spec = json!({
        "holderIdentity": holder,
        "leaseTransitions": if random.yes(10) { Value::Null } else { term },
        "leaseDurationSeconds": random.of(&[json!(15), json!(15), json!(1), json!(0), json!(-5), json!(i32::MAX), Value::Null]),
        "renewTime": format!("2026-01-01T00:00:{:02}.000000Z", random.below(60)),
    });
    let metadata = json!({"name": "db", "resourceVersion": version, "annotations": annotations});
    if random.yes(20) { json!({"metadata": metadata}) } else { json!({"metadata": metadata, "spec": spec}) }
}

fn status(random: &mut Random) -> Value {
    let maybe = |random: &mut Random, one_in: usize, value: Value| if random.yes(one_in) { value } else { Value::Null };
    let term = random.term();
    let id = random.id();
    let following = json!({"term": term, "incarnation": id, "name": random.pod(), "peerAddress": "a:2"});
    let (campaign, need, cluster) = (json!(random.term()), json!(random.term()), json!(random.cluster()));
    let hand_over = json!({"to": random.pod(), "incarnation": random.id()});
    json!({
        "version": 1,
        "incarnation": if random.yes(10) { random.id() } else { "00000000-0000-0000-0000-00000000000a".to_owned() },
        "replica": null,
        "clusterId": if random.yes(8) { Value::Null } else { cluster },
        "state": random.of(&["starting", "learner", "follower", "recovering", "leading", "leading", "draining", "failed"]),
        "voter": true,
        "promised": {"term": term, "incarnation": id},
        "position": {"term": 1, "sequence": 8},
        "following": maybe(random, 2, following),
        "leaderHeard": random.yes(2),
        "campaign": maybe(random, 2, campaign),
        "rank": random.of(&[0, 0, 1, 2, u32::MAX]),
        "needTerm": maybe(random, 6, need),
        "handOver": maybe(random, 8, hand_over),
        "eligible": !random.yes(4),
        "bootstrapping": random.yes(12),
    })
}
