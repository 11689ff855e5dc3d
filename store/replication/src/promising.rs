//! Promising: which claims a replica takes, and what ends with its stance before that.
//!
//! ```text
//!   role.json, invitation ──▶ claim ─▶ above the promise: the promise is replaced; the claim is followed, or led by
//!                                   ─▶ the promised one: followed again after a start; its addresses are learned
//!                                   ─▶ lower, or the same term with another incarnation: ignored
//! ```
//!
//! Once a claim is taken, nothing of a lower term is written or acknowledged \[S3\]. Never taken: a claim whose term no
//! Lease can carry, and one from role.json so far above the promise that it was edited by hand \[L8\].

use crate::plants::{
    late_acks_are_dropped, leaders_need_no_lease, old_appends_are_dropped, promises_name_incarnations,
    restarts_need_new_terms,
};
use crate::replica::Replica;
use crate::stance::{Following, Leading, Link, Stance};
use crate::{Claim, DurableState, Effect, RoleView, Seq, Term, Ticket};
use std::collections::VecDeque;
use std::time::Duration;

/// A Lease whose term is further above the promise than this is an edit by hand; nobody promises to it \[L8\].
const TERM_JUMP_MAX: u64 = 1_000_000;

impl Replica {
    pub(crate) fn on_role(&mut self, view: RoleView) {
        self.memory.note_role_read(self.volume.log().last());
        if !leaders_need_no_lease() && view.leader.is_none() && matches!(self.stance, Stance::Leading(_)) {
            self.end_stance();
            self.lose();
        }
        let leader = view.leader.clone();
        let lease_cluster = view.cluster_id;
        self.note_renewal(&view);
        self.sidecar.says(view);
        if self.volume.state().bootstrapping
            && let (Some(own), Some(seen)) = (self.volume.state().cluster_id, lease_cluster)
        {
            if own != seen {
                // Our bootstrap lost against another one, and nothing was ever acknowledged from it [L4].
                self.effects.push(Effect::WipeVolume { winner: seen });
                self.fail(format!("the Lease carries cluster-id {seen}, but this volume's bootstrap created {own}"));
                return;
            }
            let ticket = self.write_state(DurableState { bootstrapping: false, ..self.volume.state() });
            self.volume.mark_cleared(ticket);
        }
        let Some(leader) = leader else { return };
        if self.foreign_cluster().is_some() {
            return;
        }
        let Some(cluster_id) = lease_cluster.or(self.volume.state().cluster_id) else { return };
        // A volume that knows nothing cannot tell an absurd term from a real one: it waits for a leader's invitation [L8].
        if self.volume.state().cluster_id.is_none() && self.volume.state().promise.term == Term(0) {
            return;
        }
        let absurd = leader.term.0 > self.volume.state().promise.term.0.saturating_add(TERM_JUMP_MAX);
        self.sidecar.note_absurd_term(absurd.then_some(leader.term));
        if absurd {
            return;
        }
        let claim = Claim {
            cluster_id,
            term: leader.term,
            incarnation: leader.incarnation,
            name: leader.name,
            peer_address: leader.peer_address,
            addresses: leader.addresses,
        };
        self.consider(claim);
    }

    /// Accepts the claim if it is above the promise, and continues with it if it is the one that was promised to. Ignores a
    /// term that no Lease can carry, whatever its sender.
    pub(crate) fn consider(&mut self, claim: Claim) {
        if claim.term > Term::MAX || self.past.has_gone_back() {
            return;
        }
        if self.is_asking() {
            return self.defer(claim);
        }
        // It never leads [D5]: nobody else may believe so either, so it does not promise itself.
        if claim.incarnation == self.config.incarnation && self.checks.forbid_leading() {
            return;
        }
        if claim.term > self.volume.state().promise.term {
            self.take(claim);
        } else if !promises_name_incarnations()
            && claim.term == self.volume.state().promise.term
            && self.claim().is_none_or(|own| own.incarnation != claim.incarnation)
        {
            self.end_stance();
            let ticket = self.volume.writes().newest();
            if claim.incarnation == self.config.incarnation {
                self.stance = Stance::Leading(Box::new(Leading::new(claim, ticket, self.clock.now())));
            } else {
                self.follow(claim, ticket);
            }
        } else if claim.promise() == self.volume.state().promise && claim.incarnation != self.config.incarnation {
            match &mut self.stance {
                Stance::Following(_) => self.learn_addresses(claim),
                Stance::Idle if !restarts_need_new_terms() && claim.name == self.config.name => {
                    self.stance =
                        Stance::Leading(Box::new(Leading::new(claim, self.volume.writes().newest(), self.clock.now())));
                }
                // Restarted under this promise: nothing new is promised, the volume has it.
                Stance::Idle => self.follow(claim, self.volume.writes().newest()),
                Stance::Leading(_) => {}
            }
        }
    }

    /// Promises to this claim, and from this moment on neither writes nor acks anything of a lower term \[S3\].
    fn take(&mut self, claim: Claim) {
        assert!(
            claim.term > self.volume.state().promise.term,
            "a claim of term {} under {}",
            claim.term,
            self.volume.state().promise
        );
        let word = self.word_to_successor(&claim);
        if self.disk.hangs() && matches!(self.stance, Stance::Leading(_)) {
            self.effects.push(Effect::GiveUp);
        }
        if !old_appends_are_dropped() {
            self.stance = Stance::Idle;
        }
        self.end_stance();
        let ticket = self.write_state(DurableState { promise: claim.promise(), ..self.volume.state() });
        self.effects.extend(word);
        if claim.incarnation == self.config.incarnation {
            self.stance = Stance::Leading(Box::new(Leading::new(claim, ticket, self.clock.now())));
        } else {
            self.follow(claim, ticket);
        }
    }

    fn follow(&mut self, claim: Claim, promised_by: Ticket) {
        self.stance = Stance::Following(Box::new(Following {
            claim,
            promised_by,
            heard_at: self.clock.now(),
            heard: false,
            link: Link::Down { redial_at: self.clock.now() },
            dropped: false,
            verified: Seq(0),
            acked: None,
            owes_ack: false,
            leader_commit: Seq(0),
            pulled: None,
            redial_pause: Duration::ZERO,
            leader_replica: None,
            leader_durable: Seq(0),
            is_used_elsewhere: false,
            asked: VecDeque::new(),
            table: None,
            refused_format: None,
            welcomed: crate::FORMAT_MIN,
            round: 0,
            echoed_at: Duration::ZERO,
        }));
    }

    /// Closes what belongs to the present stance. A connection belongs to one term \[S4\].
    pub(crate) fn end_stance(&mut self) {
        self.lost = None;
        match std::mem::replace(&mut self.stance, Stance::Idle) {
            Stance::Idle => {}
            Stance::Following(following) => match following.link {
                Link::Down { .. } => {}
                Link::Dialled(conn) | Link::Up(conn) => self.effects.push(Effect::Close { conn }),
            },
            Stance::Leading(leading) => {
                let open = leading.followers.iter().filter_map(|(replica, one)| Some((one.conn?, *replica)));
                if late_acks_are_dropped() {
                    self.effects.extend(open.map(|(conn, _)| Effect::Close { conn }));
                } else {
                    self.memory.keep(open);
                }
            }
        }
    }

    /// The cluster-id of the Lease where the volume has another one.
    pub(crate) fn foreign_cluster(&self) -> Option<crate::ClusterId> {
        let lease = self.sidecar.cluster_id()?;
        self.volume.state().cluster_id.filter(|own| *own != lease).map(|_| lease)
    }
}
