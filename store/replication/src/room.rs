//! Room: what a leader accepts when memory or disks run short (5.9 in docs/design.md).
//!
//! ```text
//!   shell ──Room──▶ own level        followers ──echo──▶ theirs
//!   growing writes: refused where the leader is over (it hands over first, to one that is not), or where those that are
//!                   heard and not over are no majority
//!   any write:      refused where the leader's disk is full, or where those that are heard and not full are no majority
//!   a full follower takes no entries; it promises, echoes and serves reads
//! ```
//!
//! The leader admits writes; nothing is ever refused when it is applied. What keeps the cluster alive is never refused
//! (promises, the first entry of a term, voters): a disk counts as full while it still has room for those.

use crate::plants::{full_disks_take_nothing, limits_hold};
use crate::replica::Replica;
use crate::stance::{Follower, Link, Stance};
use crate::{Effect, Level, Limit, Refusal, ReplicaId, Room, Shortage};
use std::time::Duration;

/// A leader that has just opened does not hand over for lack of room before this: two that run short in turn must not pass
/// the leadership back and forth.
const STAYS_AT_LEAST: Duration = Duration::from_secs(10);

/// How much room there is here, as the shell said last.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Supply {
    room: Room,
    /// Since when it is over a limit.
    over_since: Option<Duration>,
}

impl Supply {
    fn say(&mut self, room: Room, now: Duration) {
        self.room = room;
        self.over_since = room.shortage().limit().map(|_| self.over_since.unwrap_or(now));
    }

    pub(crate) fn room(&self) -> Room {
        self.room
    }

    fn over_since(&self) -> Option<Duration> {
        self.over_since
    }
}

impl Replica {
    pub(crate) fn on_room(&mut self, room: Room) {
        let was_full = self.takes_no_entries();
        self.supply.say(room, self.clock.now());
        if was_full && !self.takes_no_entries() {
            self.ask_for_what_was_dropped();
        }
    }

    /// The volume has room only for what keeps the cluster alive.
    pub(crate) fn takes_no_entries(&self) -> bool {
        self.supply.room().disk == Level::Full && full_disks_take_nothing()
    }

    /// Entries arrived while nothing fitted, and got no answer: a new connection brings them again.
    fn ask_for_what_was_dropped(&mut self) {
        let Stance::Following(following) = &mut self.stance else { return };
        if let Link::Up(conn) = following.link
            && std::mem::take(&mut following.dropped)
        {
            self.effects.push(Effect::Close { conn });
            self.hang_up(true);
        }
    }

    /// Why a write is refused for lack of room.
    pub(crate) fn room_refusal(&self, grows: bool) -> Option<Refusal> {
        let Stance::Leading(leading) = &self.stance else { return None };
        let own = self.config.replica;
        let out = |replica, shortage: Shortage| {
            Some(Refusal::OutOfRoom { limit: shortage.limit().unwrap_or(Limit::Disk), replica })
        };
        let mine = self.supply.room().shortage();
        if mine.full {
            return out(own, mine);
        }
        // Usually nobody is short of anything.
        let short = |follower: &Follower| if grows { follower.room.limit().is_some() } else { follower.room.full };
        let is_any_short = grows && mine.limit().is_some() || leading.followers.values().any(short);
        if !is_any_short {
            return None;
        }
        if grows && !limits_hold() {
            return None;
        }
        if grows && mine.limit().is_some() && !self.gives_way() {
            return out(own, mine);
        }
        let voters = self.volume.log().voters();
        let takes = |replica: ReplicaId| {
            if replica == own {
                return true;
            }
            let heard = leading.hears(replica, self.clock.now(), self.config.lost_time);
            heard && leading.followers.get(&replica).is_some_and(|follower| !short(follower))
        };
        if voters.is_majority(takes) {
            return None;
        }
        let first = leading.followers.iter().find(|(replica, one)| voters.contains(**replica) && short(one));
        first.and_then(|(replica, follower)| out(*replica, follower.room))
    }

    /// It is over, but not far, and another one is about to lead.
    fn gives_way(&self) -> bool {
        let is_far = self.supply.room().memory >= Level::Far || self.supply.room().disk >= Level::Far;
        let in_time =
            self.supply.over_since().is_some_and(|since| self.clock.now() < since + self.config.hand_over_max);
        !is_far && in_time && self.wants_room_elsewhere()
    }

    /// The leader is over, and those that are not are a majority without it, with one of them fit to lead.
    pub(crate) fn wants_room_elsewhere(&self) -> bool {
        let Stance::Leading(leading) = &self.stance else { return false };
        if self.supply.room().shortage().limit().is_none() || self.clock.now() < leading.since + STAYS_AT_LEAST {
            return false;
        }
        let has_room = |replica: ReplicaId| {
            leading.hears(replica, self.clock.now(), self.config.lost_time)
                && leading.followers.get(&replica).is_some_and(Follower::has_room)
        };
        self.volume.log().voters().is_majority(has_room) && self.successor_with_room().is_some()
    }
}

impl Follower {
    /// It has reported, on this connection, that it is over no limit.
    pub(crate) fn has_room(&self) -> bool {
        self.echoed > 0 && self.room.limit().is_none()
    }
}
