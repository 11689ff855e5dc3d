//! Who may speak to this replica: other replicas by a shared key (and TLS), clients by tokens (and TLS).
//!
//! ```text
//!   peer port   TCP ──▶ TLS (if given) ──▶ Noise (if a key is given) ──▶ HTTP, WebSocket                   `peers`
//!   API port    TCP ──▶ TLS (if given) ──▶ HTTP ──▶ bearer token (if tokens are given) ──▶ the calls       `api::tokens`
//!   files of mounted Secrets ──every second──▶ `Reloaded` ──▶ the next connection
//! ```
//!
//! | part | what it protects | what it does not |
//! | --- | --- | --- |
//! | [`handshake`], [`channel`] | who has no key cannot read, write, vote or invite; every byte after the handshake is encrypted and carries a MAC, so nobody on the way can read, change, repeat or take over a connection | one member against another: all have the same key |
//! | [`crate::tls`] on the peer port | the same by certificates, below it or alone | a member's stolen certificate or key |
//! | tokens | who has none gets no data | without TLS: who sees the network has the token |
//!
//! Clocks are not trusted: freshness comes from random numbers of both sides. (Certificates have dates; TLS alone needs
//! a roughly right clock.) What is open when a file changes stays open: see [`leasehold_daemon::reload`].

pub mod channel;
pub mod handshake;
pub mod key;
pub mod peers;
mod primitives;
pub mod sniffed;

#[cfg(test)]
pub(crate) mod tests;
