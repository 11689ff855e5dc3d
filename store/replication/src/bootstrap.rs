//! The first start of a cluster (5.5 in docs/design.md): one empty volume becomes the first voter.
//!
//! ```text
//!   empty volume of the lowest wanted ordinal, no Lease has a cluster-id
//!     ──AskState──▶ every other wanted pod: "empty" from all \[S9\]
//!     ──Persist──▶ cluster-id, mark, itself as the sole voter, initial data        (the volume first)
//!     ──campaign {0}──▶ its sidecar writes the Lease with the id                    (then the Lease)
//!     role.json shows the Lease with that id ──▶ the mark is cleared                \[L4\]
//! ```
//!
//! With a backup's data ([`Config::restore`]) in the place of initial data all of the volume is written at once, as one
//! segment, so a power loss leaves all of it or nothing:
//!
//! ```text
//!     ──Restore──▶ cluster-id, mark, a snapshot at (term 0, sequence N), itself as the sole voter at N + 1
//! ```
//!
//! Term 0 is before all terms of the new cluster, whatever terms the old one had: positions only rise. Only a first start
//! restores \[R1\]: nobody else may have data, and no Lease a cluster-id.
//!
//! The voters have the highest format that all wanted pods allow: nobody has anything yet that an older build would lose.
//! Initial data that need a later format wait for all wanted pods to allow that.

use crate::losing::ANSWER_GOOD;
use crate::plants::{first_start_asks_others, restores_ask_others, restores_fit_the_format};
use crate::replica::Replica;
use crate::stance::Stance;
use crate::{
    Config, DurableState, Effect, Entry, FORMAT_MIN, Payload, Position, Recovered, Restore, SnapshotMeta, Term, Voter,
    Voters,
};

/// A volume that may have to bootstrap: it never did, or that was torn, and is done again with the same initial data.
/// `forced`: by `--force-bootstrap`.
pub fn begins_anew(recovered: &Recovered, forced: bool) -> bool {
    let has_voters = recovered.snapshot.is_some()
        || recovered.entries.iter().any(|entry| matches!(entry.payload, Payload::Voters(_)));
    recovered.state.cluster_id.is_none() || (!has_voters && (recovered.state.bootstrapping || forced))
}

/// A bootstrap that a power loss tore: the volume is as good as empty, and keeps only its promise. The first entries that
/// arrive cut what is left.
pub(crate) fn without_torn_bootstrap(recovered: Recovered, config: &Config) -> Recovered {
    if begins_anew(&recovered, config.force_bootstrap) {
        let state = DurableState { promise: recovered.state.promise, ..DurableState::EMPTY };
        return Recovered { state, snapshot: None, entries: Vec::new(), ..recovered };
    }
    recovered
}

impl Replica {
    /// The pods that must say that they are empty; none where it is not for this replica to bootstrap.
    pub(crate) fn asked_for_bootstrap(&self) -> Option<Vec<crate::Target>> {
        let view = self.sidecar.view()?;
        let lowest = view.members.first()?;
        let fit = self.volume.is_empty()
            && matches!(self.stance, Stance::Idle)
            && self.volume.state().promise.term == Term(0)
            && view.cluster_id.is_none()
            && !view.paused
            && lowest.name == self.config.name
            && !self.ending.is_draining()
            && !self.past.has_gone_back();
        let others = view.members.iter().filter(|member| member.name != self.config.name);
        // "Empty" decides about kept data: it is not asked for at an address that only an earlier run of the sidecar saw,
        // because a stranger's pod of the same name may have that address by now [F2].
        let seen_now = |member: &crate::Member| crate::Target {
            addresses: if member.remembered { Vec::new() } else { member.addresses.clone() },
            ..member.target()
        };
        fit.then(|| others.map(seen_now).collect())
    }

    /// The wanted pods that have not yet confirmed that they are empty, and may write what the initial data need.
    pub(crate) fn bootstrap_waits_for(&self) -> Vec<String> {
        let asks = first_start_asks_others() && (restores_ask_others() || self.config.restore.is_none());
        let asked = self.asked_for_bootstrap().filter(|_| asks);
        let Some(asked) = asked else { return Vec::new() };
        let since = self.clock.now().saturating_sub(ANSWER_GOOD);
        let is_empty = |name: &String| {
            self.peers.said(name, since).is_some_and(|state| {
                let allows = state.format_allowed.min(state.format_max) >= self.config.initial_format;
                state.cluster_id.is_none() && state.position == Position::ZERO && state.hears.is_none() && allows
            })
        };
        asked.into_iter().map(|to| to.name).filter(|name| !is_empty(name)).collect()
    }

    /// What a new cluster begins with: the highest format that all wanted pods read and allow, as far as they have said so.
    fn first_format(&self) -> u32 {
        let own = self.own_format();
        let since = self.clock.now().saturating_sub(ANSWER_GOOD);
        let allowed = |name: &str| {
            self.peers.said(name, since).map_or(FORMAT_MIN, |state| state.format_allowed.min(state.format_max))
        };
        let others = self.sidecar.members().iter().filter(|member| member.name != self.config.name);
        others.map(|member| allowed(&member.name)).fold(own, u32::min).max(FORMAT_MIN)
    }

    pub(crate) fn tend_bootstrap(&mut self) {
        let wanted = self.sidecar.members().len();
        let forced = self.config.force_bootstrap
            && self.volume.is_empty()
            && self.sidecar.view().is_some()
            && !self.past.has_gone_back();
        let agreed = self.asked_for_bootstrap().is_some() && self.bootstrap_waits_for().is_empty();
        if !forced && !agreed {
            return;
        }
        let format = if forced { FORMAT_MIN.max(self.config.initial_format) } else { self.first_format() };
        let format = match self.config.restore {
            Some(restore) if forced => format.max(restore.format.min(self.own_format())),
            _ => format,
        };
        if let Some(restore) =
            self.config.restore.filter(|restore| restore.format > format && restores_fit_the_format())
        {
            return self.cannot_go_on(needs_later_format(restore, format));
        }
        // An operator ran `bootstrap --force`: that overrides an invitation that an empty volume may have accepted.
        self.end_stance();
        let name = self.config.name.clone();
        let peer_address = self.address_of(&name).unwrap_or_default();
        let voter = Voter { replica: self.config.replica, name, peer_address };
        let floor = if wanted > 1 { 2 } else { 1 };
        let cluster_id = Some(self.config.new_cluster_id);
        let state = DurableState { cluster_id, bootstrapping: !forced, ..self.volume.state() };
        let voters = Payload::Voters(Voters { format, floor, voters: vec![voter] });
        match self.config.restore {
            Some(restore) => self.begin_with_restored(restore, state, voters),
            None => self.begin_with_initial_data(state, voters),
        }
        self.lose();
    }

    fn begin_with_initial_data(&mut self, state: DurableState, voters: Payload) {
        let mut records = vec![self.volume.hold(state)];
        let commands: Vec<Payload> = self.config.initial_data.iter().cloned().map(Payload::Command).collect();
        // The voters come last: a power loss may keep any prefix of this write, and without voters it never was.
        for payload in commands.into_iter().chain([voters]) {
            records.push(self.volume.append(Term(0), payload));
        }
        self.persist(records);
    }

    /// What was restored is committed: it was, in the cluster that it is from.
    fn begin_with_restored(&mut self, restore: Restore, state: DurableState, voters: Payload) {
        let Restore { position, format } = restore;
        let nobody = Voters { format, ..Voters::none() };
        let meta = SnapshotMeta { cluster_id: self.config.new_cluster_id, position, voters: nobody };
        self.volume.hold(state);
        self.volume.begin_after(&meta);
        self.progress.begin_after(position.seq);
        let entry = Entry::new(position, Term(0), voters);
        self.volume.append_entry(entry.clone());
        let ticket = self.volume.issue();
        self.effects.push(Effect::Restore { ticket, meta, state, format: self.in_force, entry });
    }

    /// The highest format that this replica reads and may write.
    fn own_format(&self) -> u32 {
        self.config.format_allowed.min(self.config.format_build)
    }
}

fn needs_later_format(restore: Restore, format: u32) -> String {
    let needs = restore.format;
    format!(
        "the data in restore.json have format {needs}, and not every wanted pod reads and allows more than format {format}: \
         give all of them a build that reads format {needs}, and a --format-max that allows it; nothing was restored, and \
         the volume is unchanged"
    )
}
