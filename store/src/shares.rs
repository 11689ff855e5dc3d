//! Divides the file descriptors of this process among its users.
//!
//! ```text
//!   the limit ──▶ own: journal, snapshot, role.json, epoll …   always kept
//!             ──▶ probes                                       always kept
//!             ──▶ the rest ──▶ other replicas                  an eighth, at most `PEERS_MAX`
//!                          ──▶ writes that are sent on         a quarter, at most `FORWARDS_MAX`: each is a connection
//!                          ──▶ clients                         what remains, at most as many as are wanted
//! ```
//!
//! If clients used the last descriptor, the store could not open the next segment of its journal, and would end.

use crate::args::CONNECTIONS_LEAST;

/// For the store's own files and sockets: some 30 at a time.
const OWN: usize = 96;
/// Connections of the probe port.
const PROBES: usize = 32;
/// Connections of other replicas and of those who ask them something.
const PEERS_MAX: usize = 512;
/// How many writes may be under way to the leader, or wait for one, at once. More are refused (503): they would only fill
/// the memory.
const FORWARDS_MAX: usize = 1024;

/// Connections of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Of clients.
    pub clients: usize,
    /// Of other replicas.
    pub peers: usize,
    /// To the leader.
    pub forwards: usize,
    /// Of the probe port.
    pub probes: usize,
}

/// The limit of open descriptors is too low.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may have {limit} files and connections open, but needs at least {needed}: raise the limit (ulimit -n)"
)]
pub struct TooFew {
    limit: usize,
    needed: usize,
}

impl Shares {
    /// For `limit` descriptors in all, and this many clients if they fit.
    ///
    /// # Errors
    /// [`TooFew`].
    pub fn of(limit: usize, clients_wanted: usize) -> Result<Shares, TooFew> {
        let rest = limit.saturating_sub(OWN + PROBES);
        let (peers, forwards) = ((rest / 8).min(PEERS_MAX), (rest / 4).min(FORWARDS_MAX));
        // The connection that waits for its place has a descriptor, too: on each port.
        let clients = (rest - peers - forwards).saturating_sub(3).min(clients_wanted);
        if clients < CONNECTIONS_LEAST || peers < CONNECTIONS_LEAST {
            return Err(TooFew { limit, needed: OWN + PROBES + 8 * CONNECTIONS_LEAST });
        }
        Ok(Shares { clients, peers, forwards, probes: PROBES })
    }

    /// How many clients may watch: they stay, and must leave places for the others.
    pub fn watchers(&self, wanted: usize) -> usize {
        wanted.min(self.clients / 2)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_fit_into_any_limit_that_is_high_enough() {
        let mut fit = 0;
        for limit in (0..20_000).step_by(7) {
            let Ok(shares) = Shares::of(limit, 4096) else { continue };
            let Shares { clients, peers, forwards, probes } = shares;
            assert!(OWN + clients + peers + forwards + probes + 3 <= limit, "{limit}: {shares:?}");
            assert!(clients >= CONNECTIONS_LEAST && shares.watchers(256) <= clients / 2, "{limit}: {shares:?}");
            fit += 1;
        }
        assert!(fit > 2_500, "{fit}");
    }

    #[test]
    fn the_usual_limits_give_many_places_and_a_tiny_one_says_what_is_needed() {
        let usual = Shares { clients: 557, peers: 112, forwards: 224, probes: PROBES };
        assert_eq!(Shares::of(1024, 4096), Ok(usual));
        let plenty = Shares { clients: 4096, peers: PEERS_MAX, forwards: FORWARDS_MAX, probes: PROBES };
        assert_eq!(Shares::of(1 << 20, 4096), Ok(plenty));
        let error = Shares::of(100, 4096).unwrap_err();
        assert!(error.to_string().contains("at least 256"), "{error}");
        assert!(Shares::of(256, 4096).is_ok());
        assert!(Shares::of(255, 4096).is_err());
    }
}
