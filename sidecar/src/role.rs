//! Writes role.json, and the words `role` and `leader` beside it.
//!
//! ```text
//!   RoleView ──addresses, stamps (`contract::election`)──▶ RoleFile ──replace──▶ role.json ──▶ role, leader (one word each, derived)
//! ```

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasehold_contract as contract;
use leasehold_contract::election::Surroundings;
use leasehold_contract::{LEADER_WORD_FILE, ROLE_FILE, ROLE_WORD_FILE, Role, RoleFile, replace_file};
use leasehold_election::{OldRole, RoleView};
use tracing::{info, warn};
use uuid::Uuid;

use crate::args::Config;
use crate::clock::Clock;
use crate::kube::addresses::Book;

/// The writer of role.json.
pub(crate) struct RoleWriter {
    /// None: an app that embeds the elector wants no files.
    directory: Option<PathBuf>,
    /// Counts the writes, from 1.
    generation: u64,
    /// The present or desired content of the file.
    latest: Option<RoleFile>,
    /// `latest` stands in role.json's place: all that an election needs to know. The words beside it may still be pending.
    stands: bool,
    /// A write failed, or somebody removed the file.
    pending: bool,
    /// Whether the failure was logged.
    warned: bool,
}

impl RoleWriter {
    pub(crate) fn new(directory: Option<PathBuf>) -> RoleWriter {
        RoleWriter { directory, generation: 0, latest: None, stands: false, pending: false, warned: false }
    }

    /// Sets the content of the files. [`RoleWriter::tend`] retries what could not be written.
    pub(crate) fn publish(&mut self, mut file: RoleFile) {
        self.generation += 1;
        file.generation = self.generation;
        self.latest = Some(file);
        // Without a directory there is no file: what was published stands at once, and whoever waits for it is answered.
        self.pending = self.directory.is_some();
        self.stands = !self.pending;
        self.write();
    }

    /// Rewrites what could not be written or was removed. Called about once a second.
    pub(crate) fn tend(&mut self) {
        if let (Some(directory), Some(_)) = (&self.directory, &self.latest)
            && !directory.join(ROLE_FILE).exists()
        {
            (self.stands, self.pending) = (false, true);
        }
        self.write();
    }

    /// What was last published stands in its place.
    pub(crate) fn is_written(&self) -> bool {
        self.latest.is_some() && self.stands
    }

    /// The term in which this pod leads, by what was last published.
    pub(crate) fn leads(&self) -> Option<u64> {
        self.latest.as_ref().filter(|file| file.role == Role::Leader).map(|file| file.term)
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
        // The words follow the file from which they derive: a reader that waits for a word finds the file at least as new.
        let replaced =
            std::fs::create_dir_all(directory).and_then(|()| replace_file(directory, ROLE_FILE, &file.to_json()));
        self.stands |= replaced.is_ok();
        let written = replaced
            .and_then(|()| replace_file(directory, ROLE_WORD_FILE, word.as_bytes()))
            .and_then(|()| replace_file(directory, LEADER_WORD_FILE, leader.as_bytes()));
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.warned) {
                    info!("wrote role.json again");
                }
                self.pending = false;
            }
            Err(error) if !self.warned => {
                self.warned = true;
                warn!(directory = %directory.display(), %error, "cannot write role.json; trying again");
            }
            Err(_) => {}
        }
    }
}

/// The content of role.json for the election's decision.
pub(crate) fn role_file(view: &RoleView, book: &Book, config: &Config, clock: &Clock) -> RoleFile {
    contract::election::role_file(view, &Around { book, config, clock })
}

/// What role.json says beside the decision.
struct Around<'a> {
    book: &'a Book,
    config: &'a Config,
    clock: &'a Clock,
}

/// The templates give the addresses that the election does not know.
impl Surroundings for Around<'_> {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn lease(&self) -> (&str, &str) {
        (&self.config.namespace, &self.config.lease)
    }

    fn lease_duration(&self) -> Duration {
        self.config.lease_duration
    }

    fn boot_id(&self) -> Option<Uuid> {
        contract::Moment::now().boot_id
    }

    fn stamps(&self, moment: Duration) -> (u64, u64) {
        self.clock.stamps(moment)
    }

    fn address_of(&self, pod: &str) -> Option<String> {
        self.config.member_address_of(pod)
    }

    fn peer_address_of(&self, pod: &str) -> Option<String> {
        self.config.member_peer_address.render(pod)
    }

    fn self_addresses(&self) -> Vec<IpAddr> {
        self.book.of_advertised(&self.config.name, self.config.address.as_deref())
    }

    fn leader_addresses(&self, pod: &str, advertised: Option<&str>) -> Vec<IpAddr> {
        self.book.of_advertised(pod, advertised)
    }

    fn member_addresses(&self, pod: &str) -> (Vec<IpAddr>, bool) {
        self.book.of(pod)
    }
}

/// What an earlier run of the sidecar left: its term counts as seen.
pub(crate) fn old_role(directory: &Path, name: &str) -> Option<OldRole> {
    match contract::read_json::<RoleFile>(&directory.join(ROLE_FILE)) {
        Ok(file) => Some(contract::election::old_role(&file, name, contract::Moment::now())),
        Err(error) if error.is_missing() => None,
        Err(error) => {
            warn!(%error, "the old role.json is unusable");
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::args::Args;
    use crate::kube::addresses::Seen;
    use clap::Parser as _;
    use leasehold_election::{Leader, PodRole, Term};

    fn a_view() -> RoleView {
        RoleView {
            role: PodRole::Follower,
            term: Term(4),
            cluster_id: None,
            leader: None,
            members: None,
            hand_over_to: None,
            off_lease: false,
            paused: false,
            newest_revision: None,
            valid_until: None,
            renewed_at: None,
        }
    }

    /// After a transfer the Lease names the new leader, but not its address yet: the slices have it.
    #[test]
    fn a_leader_whose_address_stands_in_no_lease_yet_is_named_by_the_ips_of_its_pod() {
        let args = ["sidecar", "--namespace", "n", "--lease", "db", "--name", "db-1", "--service", "db-peers"];
        let config = Args::try_parse_from(args).unwrap().config().unwrap();
        let leader = Leader { name: "db-0".into(), incarnation: Uuid::from_u128(1), address: None, peer_address: None };
        let view = RoleView { leader: Some(leader), ..a_view() };
        let mut book = Book::default();
        book.see(Seen::from([("db-0".to_owned(), vec!["10.0.0.1".parse().unwrap()])]));
        let named = role_file(&view, &book, &config, &Clock::start()).leader.unwrap();
        assert_eq!(named.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(named.address, "db-0.db-peers.n.svc.cluster.local:8089");
    }

    /// As where an app has made a directory of that name.
    #[test]
    fn role_json_stands_in_its_place_also_where_the_words_beside_it_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(ROLE_WORD_FILE).join("a")).unwrap();
        let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
        let view = RoleView { role: PodRole::Leader, leader: None, ..a_view() };
        let mut writer = RoleWriter::new(Some(dir.path().to_owned()));
        writer.publish(role_file(&view, &Book::default(), &config, &Clock::start()));
        let written: RoleFile = contract::read_json(&dir.path().join(ROLE_FILE)).unwrap();
        assert_eq!(written.role, Role::Leader);
        assert!(writer.is_written(), "the election would not know of this claim");
        std::fs::remove_dir_all(dir.path().join(ROLE_WORD_FILE)).unwrap();
        writer.tend();
        assert_eq!(std::fs::read_to_string(dir.path().join(ROLE_WORD_FILE)).unwrap(), "leader\n");
        std::fs::remove_file(dir.path().join(ROLE_FILE)).unwrap();
        std::fs::create_dir_all(dir.path().join(ROLE_FILE).join("a")).unwrap();
        writer.publish(role_file(&a_view(), &Book::default(), &config, &Clock::start()));
        assert!(!writer.is_written());
    }
}
