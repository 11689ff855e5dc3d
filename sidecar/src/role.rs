//! Writes role.json, and the words `role` and `leader` beside it.
//!
//! ```text
//!   RoleView ──addresses, stamps──▶ RoleFile ──replace──▶ role.json ──▶ role, leader (one word each, derived)
//! ```

use std::path::PathBuf;

use leasehold_contract as contract;
use leasehold_contract::{LEADER_WORD_FILE, ROLE_FILE, ROLE_WORD_FILE, RoleFile, VERSION, replace_file};
use leasehold_election::{Leader, Member, OldRole, Role, RoleView, Term};
use tracing::{info, warn};

use crate::addresses::Book;
use crate::args::Config;
use crate::clock::Clock;

/// The writer of role.json.
pub(crate) struct RoleWriter {
    /// None: an app that embeds the elector wants no files.
    directory: Option<PathBuf>,
    /// Counts the writes, from 1.
    generation: u64,
    /// What stands in the file, or shall.
    latest: Option<RoleFile>,
    /// The last write failed, or somebody took the file away.
    pending: bool,
    /// That it failed was said.
    warned: bool,
}

impl RoleWriter {
    pub(crate) fn new(directory: Option<PathBuf>) -> RoleWriter {
        RoleWriter { directory, generation: 0, latest: None, pending: false, warned: false }
    }

    /// Makes the files say this. What could not be written is tried again by [`RoleWriter::tend`].
    pub(crate) fn publish(&mut self, mut file: RoleFile) {
        self.generation += 1;
        file.generation = self.generation;
        self.latest = Some(file);
        self.pending = true;
        self.write();
    }

    /// Writes again what could not be written or was taken away. Called about once a second.
    pub(crate) fn tend(&mut self) {
        if let (Some(directory), Some(_)) = (&self.directory, &self.latest)
            && !directory.join(ROLE_FILE).exists()
        {
            self.pending = true;
        }
        self.write();
    }

    /// What was last published.
    pub(crate) fn latest(&self) -> Option<&RoleFile> {
        self.latest.as_ref()
    }

    fn write(&mut self) {
        let (Some(directory), Some(file)) = (&self.directory, &self.latest) else { return };
        if !self.pending {
            return;
        }
        let word = format!("{}\n", file.role.as_str());
        let leader = file.leader.as_ref().map(|leader| format!("{}\n", leader.address)).unwrap_or_default();
        let json = serde_json::to_vec_pretty(file).map_err(std::io::Error::from);
        // The words after the file that they are derived from: who waits for a word finds the file as new as it.
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| replace_file(directory, ROLE_FILE, &json?))
            .and_then(|()| replace_file(directory, ROLE_WORD_FILE, word.as_bytes()))
            .and_then(|()| replace_file(directory, LEADER_WORD_FILE, leader.as_bytes()));
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.warned) {
                    info!("role.json can be written again");
                }
                self.pending = false;
            }
            Err(error) if !self.warned => {
                self.warned = true;
                warn!(directory = %directory.display(), %error, "role.json cannot be written, it is tried again");
            }
            Err(_) => {}
        }
    }
}

/// The content of role.json for what the election decided.
pub(crate) fn role_file(view: &RoleView, book: &Book, config: &Config, clock: &Clock) -> RoleFile {
    let stamps = view.valid_until.map(|moment| clock.stamps(moment));
    RoleFile {
        version: VERSION,
        generation: 0,
        role: match view.role {
            Role::Leader => contract::Role::Leader,
            Role::Follower => contract::Role::Follower,
            Role::None => contract::Role::None,
        },
        term: view.term.0,
        cluster_id: view.cluster_id,
        boot_id: contract::Moment::now().boot_id,
        self_name: config.name.clone(),
        self_addresses: book.of_advertised(&config.name, config.address.as_deref()),
        leader: view.leader.as_ref().map(|leader| leader_entry(leader, book, config)),
        members: view.members.iter().flatten().map(|member| member_entry(member, book)).collect(),
        hand_over_to: view.hand_over_to.clone(),
        off_lease: view.off_lease,
        paused: view.paused,
        newest_revision: view.newest_revision.clone(),
        lease: contract::LeaseInfo {
            namespace: config.namespace.clone(),
            name: config.lease.clone(),
            duration_ms: u64::try_from(config.lease_duration.as_millis()).unwrap_or(u64::MAX),
            valid_until_boottime_ns: stamps.map(|(boottime, _)| boottime),
            valid_until_unix_ms: stamps.map(|(_, unix)| unix),
            renewal_seen_boottime_ns: view.renewed_at.map(|moment| clock.stamps(moment).0),
        },
    }
}

/// Addresses that the election does not know come from the templates.
fn leader_entry(leader: &Leader, book: &Book, config: &Config) -> contract::Leader {
    let address = leader.address.clone().or_else(|| config.member_address_of(&leader.name));
    let peer_address = leader.peer_address.clone().or_else(|| config.member_peer_address.render(&leader.name));
    contract::Leader {
        name: leader.name.clone(),
        incarnation: Some(leader.incarnation),
        addresses: book.of_advertised(&leader.name, address.as_deref()),
        address: address.unwrap_or_default(),
        peer_address: peer_address.unwrap_or_default(),
    }
}

fn member_entry(member: &Member, book: &Book) -> contract::Member {
    let (addresses, remembered) = book.of(&member.name);
    contract::Member {
        name: member.name.clone(),
        address: member.address.clone(),
        peer_address: member.peer_address.clone(),
        addresses,
        remembered,
    }
}

/// What an earlier run of the sidecar left behind: its term counts as seen.
pub(crate) fn old_role(directory: &std::path::Path, name: &str) -> Option<OldRole> {
    match contract::read_json::<RoleFile>(&directory.join(ROLE_FILE)) {
        Ok(file) => Some(OldRole {
            term: Term(file.term),
            paused: file.paused,
            off_lease: file.leader.as_ref().filter(|_| file.off_lease).and_then(|leader| leader.incarnation),
            own_claim: (file.leader.as_ref())
                .filter(|leader| {
                    file.role == contract::Role::Leader && file.self_name == name && leader.name == file.self_name
                })
                .and_then(|leader| leader.incarnation),
        }),
        Err(error) if error.is_missing() => None,
        Err(error) => {
            warn!(%error, "the old role.json is of no use");
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::addresses::Seen;
    use crate::args::Args;
    use clap::Parser as _;
    use uuid::Uuid;

    /// After a transfer the Lease names the new leader, and not yet where it is: the slices do.
    #[test]
    fn a_leader_whose_address_stands_in_no_lease_yet_is_named_by_the_ips_of_its_pod() {
        let args = ["sidecar", "--namespace", "n", "--lease", "db", "--name", "db-1", "--service", "db-peers"];
        let config = Args::try_parse_from(args).unwrap().config().unwrap();
        let leader = Leader { name: "db-0".into(), incarnation: Uuid::from_u128(1), address: None, peer_address: None };
        let view = RoleView {
            role: Role::Follower,
            term: Term(4),
            cluster_id: None,
            leader: Some(leader),
            members: None,
            hand_over_to: None,
            off_lease: false,
            paused: false,
            newest_revision: None,
            valid_until: None,
            renewed_at: None,
        };
        let mut book = Book::default();
        book.see(Seen::from([("db-0".to_owned(), vec!["10.0.0.1".parse().unwrap()])]));
        let named = role_file(&view, &book, &config, &Clock::start()).leader.unwrap();
        assert_eq!(named.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(named.address, "db-0.db-peers.n.svc.cluster.local:8089");
    }
}
