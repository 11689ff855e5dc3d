//! Who could believe when that it leads, app by app; what follows from that. Pure.
//!
//! ```text
//!   told(app, member, at, until) ──▶ spans of each app ──▶ gap: for how long had it no leader?
//!   died(member, at) ─────────────▶                    ──▶ two_at_once: were two claims ever valid together?
//! ```
//!
//! Times are nanoseconds since the machine's boot, which all processes of one machine share. A claim is valid until the time
//! that it names, also when the process that made it is dead: readers may still have it. A gap, however, counts from the
//! death: nobody works any longer.

use serde::Deserialize;

/// The report of an elector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Told {
    pub(super) app: usize,
    pub(super) at: i64,
    /// Until when the claim is valid; 0: it does not lead; [`OPEN`]: until further notice.
    pub(super) until: i64,
}

/// The end of a claim that names none.
pub(super) const OPEN: i64 = i64::MAX;

/// A time in which a member could believe that it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    member: usize,
    from: i64,
    until: i64,
    /// When the process died, if it did.
    died: i64,
}

impl Span {
    /// Until when somebody worked by it.
    fn worked_until(&self) -> i64 {
        self.until.min(self.died)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    apps: Vec<Vec<Span>>,
}

impl Claims {
    pub(super) fn new(apps: usize) -> Claims {
        Claims { apps: vec![Vec::new(); apps] }
    }

    /// Reports of one member arrive in their order. One about an app that does not exist is ignored.
    pub(super) fn told(&mut self, member: usize, told: Told) {
        let Some(spans) = self.apps.get_mut(told.app) else { return };
        let last = spans.iter_mut().rev().find(|span| span.member == member && span.died == OPEN);
        match last {
            Some(span) if told.until == 0 => span.until = span.until.min(told.at),
            Some(span) if span.until >= told.at => span.until = told.until,
            _ if told.until > told.at => {
                spans.push(Span { member, from: told.at, until: told.until, died: OPEN });
            }
            _ => {}
        }
    }

    /// The process of this member of all apps is dead. What it claimed without an end has ended.
    pub(super) fn died(&mut self, member: usize, at: i64) {
        let spans = self.apps.iter_mut().flatten().filter(|span| span.member == member && span.died == OPEN);
        for span in spans {
            span.died = at;
            if span.until == OPEN {
                span.until = at;
            }
        }
    }

    /// How many apps have a leader that works.
    pub(super) fn led(&self, at: i64) -> usize {
        (0..self.apps.len()).filter(|app| self.leader(*app, at).is_some()).count()
    }

    /// How many apps are led by that member.
    pub(super) fn led_by(&self, member: usize, at: i64) -> usize {
        (0..self.apps.len()).filter(|app| self.leader(*app, at) == Some(member)).count()
    }

    /// The member of each app that leads.
    pub(super) fn leaders(&self, at: i64) -> Vec<Option<usize>> {
        (0..self.apps.len()).map(|app| self.leader(app, at)).collect()
    }

    fn leader(&self, app: usize, at: i64) -> Option<usize> {
        let leads = |span: &&Span| span.from <= at && at < span.worked_until();
        self.apps[app].iter().rev().find(leads).map(|span| span.member)
    }

    /// The longest time in which an app had no leader, for each app, in nanoseconds.
    pub(super) fn gaps(&self, from: i64, to: i64) -> Vec<i64> {
        self.apps.iter().map(|spans| longest_gap(spans, from, to)).collect()
    }

    /// How often two members of an app had valid claims at the same time, and the longest such time in nanoseconds.
    pub(super) fn two_at_once(&self) -> (usize, i64) {
        let (mut count, mut longest) = (0, 0);
        for spans in &self.apps {
            for (i, one) in spans.iter().enumerate() {
                for other in &spans[i + 1..] {
                    let both = one.until.min(other.until) - one.from.max(other.from);
                    if one.member != other.member && both > 0 {
                        (count, longest) = (count + 1, longest.max(both));
                    }
                }
            }
        }
        (count, longest)
    }
}

fn longest_gap(spans: &[Span], from: i64, to: i64) -> i64 {
    let mut work: Vec<(i64, i64)> = spans.iter().map(|span| (span.from, span.worked_until())).collect();
    work.sort_unstable();
    let (mut covered, mut longest) = (from, 0);
    for (begin, end) in work {
        if begin >= to {
            break;
        }
        longest = longest.max(begin - covered);
        covered = covered.max(end);
    }
    longest.max(to - covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(claims: &mut Claims, member: usize, at: i64, until: i64) {
        claims.told(member, Told { app: 0, at, until });
    }

    #[test]
    fn a_renewed_claim_is_one_and_a_gap_begins_where_it_ran_out() {
        let mut claims = Claims::new(1);
        told(&mut claims, 0, 10, 25);
        told(&mut claims, 0, 20, 35);
        assert_eq!((claims.led(34), claims.led(35)), (1, 0));
        told(&mut claims, 0, 50, 65);
        assert_eq!(claims.gaps(10, 60), [15]);
        assert_eq!(claims.gaps(0, 60), [15]);
        assert_eq!(claims.gaps(0, 11), [10]);
        assert_eq!(claims.gaps(50, 90), [25]);
        assert_eq!(claims.two_at_once(), (0, 0));
    }

    #[test]
    fn a_claim_that_was_withdrawn_meets_no_other_and_one_of_the_dead_still_does() {
        let mut claims = Claims::new(1);
        told(&mut claims, 0, 10, 25);
        told(&mut claims, 0, 15, 0);
        told(&mut claims, 1, 16, 31);
        assert_eq!((claims.two_at_once(), claims.gaps(10, 20)), ((0, 0), vec![1]));
        claims.died(1, 18);
        told(&mut claims, 0, 29, 44);
        // Nobody worked from 18 on, but whoever read the claim could believe it until 31.
        assert_eq!((claims.two_at_once(), claims.gaps(16, 40)), ((1, 2), vec![11]));
        assert_eq!((claims.led_by(0, 30), claims.leaders(17)), (1, vec![Some(1)]));
    }

    #[test]
    fn a_claim_without_an_end_ends_with_its_process_and_a_new_process_begins_anew() {
        let mut claims = Claims::new(2);
        told(&mut claims, 0, 10, OPEN);
        claims.died(0, 20);
        assert_eq!((claims.led(19), claims.led(20)), (1, 0));
        told(&mut claims, 0, 22, OPEN);
        told(&mut claims, 1, 30, OPEN);
        told(&mut claims, 0, 33, 0);
        assert_eq!(claims.two_at_once(), (1, 3));
        assert_eq!(claims.gaps(10, 40), [2, 30]);
        // A report that it does not lead, of who never did, is none.
        told(&mut claims, 1, 40, 0);
        told(&mut claims, 1, 41, 0);
        assert_eq!(claims.led(42), 0);
    }
}
