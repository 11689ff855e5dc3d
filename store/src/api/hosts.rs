//! The names by which a store without tokens may be asked.
//!
//! A page in a browser can give its own name the address of any port that its reader reaches, such as the local end of
//! `kubectl port-forward` (DNS rebinding). Then the browser takes this store for a part of that page, which may read and write
//! everything; only the name in `Host` is a stranger's. So, without tokens, a name must be one of ours:
//!
//! ```text
//!   an IP, localhost              no page can own them
//!   this pod, and its peers       by --name, and by role.json as it is now
//!   --api-hosts                   what an operator names; the chart names its Services and pods
//! ```
//!
//! A name in a cluster has shorter forms inside of it: `x.ns.svc.cluster.local` is also `x`, `x.ns` and `x.ns.svc`.
//!
//! Not promised: protection where a namespace has the name of a public top-level domain (`x.dev`), whose owner is a stranger.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use leasehold_contract::RoleFile;

/// The longest name of DNS.
const NAME_BYTES_MAX: usize = 253;

/// Names that are known from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    any: bool,
    names: Vec<String>,
}

impl Hosts {
    /// This pod's own, and those that an operator named, each checked by [`host`].
    pub(super) fn new(own: &str, given: &[String]) -> Hosts {
        let names = given.iter().flat_map(|name| forms(name)).chain([own.to_ascii_lowercase()]).collect();
        Hosts { any: given.iter().any(|name| name == "*"), names }
    }

    /// Is it one of them, or an IP, or one of the pods in role.json? `host`: without a port.
    pub(super) fn know(&self, host: &str, role: impl FnOnce() -> Option<Arc<RoleFile>>) -> bool {
        if self.any || is_ip(host) {
            return true;
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        host == "localhost"
            || self.names.iter().any(|name| fits(name, &host))
            || role().is_some_and(|role| is_peer(&role, &host))
    }
}

/// `*`, or a name of DNS. A first label `*` stands for any one label.
///
/// # Errors
/// What is wrong with it.
pub fn host(text: &str) -> Result<String, String> {
    const LIKE: &str = "a host is like db.example.com, without scheme, port and path, or * for any";
    // Lists have a space after each comma.
    let text = text.trim();
    if text == "*" {
        return Ok(text.to_owned());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if name.len() > NAME_BYTES_MAX || !labels.split('.').all(is_label) {
        return Err(format!("{text:?} is not a valid host (write names beyond ASCII as xn--…): {LIKE}"));
    }
    Ok(name.to_ascii_lowercase())
}

fn is_ip(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.parse::<Ipv4Addr>().is_ok() || v6.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
}

/// A name and, if it is one of a cluster's DNS, its shorter forms.
fn forms(name: &str) -> Vec<String> {
    let labels: Vec<&str> = name.split('.').collect();
    let svc = labels.iter().position(|label| *label == "svc").filter(|at| *at >= 2);
    let ends = svc.map_or(vec![labels.len()], |at| vec![at - 1, at, at + 1, labels.len()]);
    ends.into_iter().filter_map(|end| Some(labels.get(..end)?.join("."))).collect()
}

fn fits(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(first, others)| !first.is_empty() && others == rest),
        None => name == host,
    }
}

/// By what role.json has of the leader and the wanted pods.
fn is_peer(role: &RoleFile, host: &str) -> bool {
    let members = role.members.iter().flat_map(|member| [&member.name, &member.address, &member.peer_address]);
    let leader = role.leader.iter().flat_map(|leader| [&leader.name, &leader.address, &leader.peer_address]);
    members.chain(leader).any(|address| {
        let name = address.rsplit_once(':').map_or(&**address, |(name, _)| name);
        forms(&name.to_ascii_lowercase()).iter().any(|form| form == host)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_contract::testing::{leader, member, role_of};

    fn hosts(given: &[&str]) -> Hosts {
        Hosts::new("db-cluster-0", &given.iter().map(|name| host(name).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn ips_and_names_of_ours_are_known_and_others_are_not() {
        let ours = hosts(&[
            "db-read.data.svc.cluster.local",
            "*.db-service.data.svc.cluster.local",
            "DB.example.com.",
            "*.wild.example",
        ]);
        for (name, is_known) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("[::1]", true),
            ("[2001:db8::7]", true),
            ("localhost", true),
            ("LocalHost.", true),
            ("db-cluster-0", true),
            ("db-read", true),
            ("db-read.data", true),
            ("db-read.data.svc", true),
            ("db-read.data.svc.cluster.local", true),
            ("DB-Read.data.svc.cluster.local.", true),
            ("db-cluster-1.db-service", true),
            ("db-cluster-2.db-service.data.svc.cluster.local", true),
            ("db.example.com", true),
            ("a.wild.example", true),
            ("evil.example", false),
            ("db-read.data.svc.cluster", false),
            ("db-read.data.svc.cluster.local.evil.example", false),
            ("db-read.others", false),
            ("a.b.db-service", false),
            (".db-service", false),
            ("wild.example", false),
            ("a.b.wild.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("db-cluster-1", false),
            ("[::1", false),
            ("", false),
        ] {
            assert_eq!(ours.know(name, || None), is_known, "{name}");
        }
        assert!(hosts(&["a", "*"]).know("evil.example", || None));
    }

    #[test]
    fn the_pods_of_role_json_are_known_by_all_their_forms() {
        let peer = "db-cluster-1.db-service.data.svc.cluster.local";
        let mut role = role_of("db-cluster-0");
        role.members = vec![member("db-cluster-1", "10.0.0.7:8089", &format!("{peer}:8090"))];
        role.leader = Some(leader(&member("db-cluster-2", "two.example:8089", "[fd00::2]:8090"), None));
        let role = Arc::new(role);
        for (name, is_known) in [
            (peer, true),
            ("db-cluster-1", true),
            ("db-cluster-1.db-service.data", true),
            ("two.example", true),
            ("db-cluster-2", true),
            ("db-service", false),
            ("db-cluster-3", false),
        ] {
            assert_eq!(hosts(&[]).know(name, || Some(role.clone())), is_known, "{name}");
        }
    }

    #[test]
    fn a_host_has_no_scheme_port_or_path() {
        assert_eq!(host(" *.Db.Example. ").as_deref(), Ok("*.db.example"));
        for text in [
            "",
            "https://db.example",
            "db.example:8089",
            "db.example/",
            "a..b",
            "a.*.b",
            "**",
            "bücher.example",
            "[::1]",
        ] {
            assert!(host(text).unwrap_err().contains("db.example.com"), "{text}");
        }
    }
}
