//! Why a connection or an answer of another replica was rejected.

use std::fmt;

/// A closed list: the label `reason` of `leasehold_store_peer_rejected_total`, in the log and in `/api/status`.
/// docs/kubernetes.md explains each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The answer to a hello is invalid.
    Answer,
    /// An invitation without a claim.
    Claim,
    /// The message is not a frame.
    Frame,
    /// The first message is not a hello.
    Hello,
    /// Not HTTP, or a call that the peer port does not have.
    Http,
    /// No key, or none in common.
    Key,
    /// Bytes changed on the way.
    Mac,
    /// A member of another cluster.
    Member,
    /// A member of this cluster, but not the intended one: an address has passed from one pod to the other. That is
    /// nobody's fault, so it is not counted.
    Name,
    /// A forgery or a recording.
    Proof,
    /// Bytes of another protocol.
    Protocol,
    /// The other end refused us.
    Refused,
    /// Nothing arrived in time.
    Silent,
    /// TLS at one end only, or a certificate that does not match.
    Tls,
    /// Not a WebSocket.
    Websocket,
}

impl Rejection {
    /// All of them.
    pub const ALL: [Rejection; 15] = [
        Rejection::Answer,
        Rejection::Claim,
        Rejection::Frame,
        Rejection::Hello,
        Rejection::Http,
        Rejection::Key,
        Rejection::Mac,
        Rejection::Member,
        Rejection::Name,
        Rejection::Proof,
        Rejection::Protocol,
        Rejection::Refused,
        Rejection::Silent,
        Rejection::Tls,
        Rejection::Websocket,
    ];

    /// The word for metric, log and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Rejection::Answer => "answer",
            Rejection::Claim => "claim",
            Rejection::Frame => "frame",
            Rejection::Hello => "hello",
            Rejection::Http => "http",
            Rejection::Key => "key",
            Rejection::Mac => "mac",
            Rejection::Member => "member",
            Rejection::Name => "name",
            Rejection::Proof => "proof",
            Rejection::Protocol => "protocol",
            Rejection::Refused => "refused",
            Rejection::Silent => "silent",
            Rejection::Tls => "tls",
            Rejection::Websocket => "websocket",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The failure to report, of those at all addresses of a pod: lack of trust says most, silence less, and an old address
/// that belongs to another pod least.
pub(super) fn worst<E>(errors: Vec<E>, reason: impl Fn(&E) -> Option<Rejection>) -> Option<E> {
    errors.into_iter().max_by_key(|error| match reason(error) {
        Some(Rejection::Name) => 0,
        None => 1,
        Some(_) => 2,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_stands_in_the_documentation_and_no_other_does() {
        let page = include_str!("../../../docs/kubernetes.md");
        let (_, list) = page.split_once("`leasehold_store_peer_rejected_total{reason}`:").unwrap();
        let (list, _) = list.split_once("\n\n###").unwrap();
        let rows = list.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        assert_eq!(rows.collect::<BTreeSet<_>>(), Rejection::ALL.map(Rejection::as_str).into());
    }
}
