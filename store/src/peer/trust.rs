//! Who may speak to this replica: other replicas by a shared key (and TLS), clients by tokens (and TLS).
//!
//! ```text
//!   peer port   TCP ──▶ TLS (if given) ──▶ proof of membership (if a key is given) ──▶ HTTP, WebSocket     `peers`
//!   API port    TCP ──▶ TLS (if given) ──▶ HTTP ──▶ bearer token (if tokens are given) ──▶ the calls       `api::tokens`
//!   files of mounted Secrets ──every second──▶ `Reloaded` ──▶ the next connection
//! ```
//!
//! | part | what it protects | what it does not |
//! | --- | --- | --- |
//! | [`proof`], [`sealed`] | who has no key cannot read, write, vote or invite; every byte after the proof carries a MAC, so nobody on the way can change, repeat or take over a connection | secrecy: who sees the network reads the records |
//! | [`crate::tls`] on the peer port | secrecy, and membership by certificate | a member's stolen certificate or key |
//! | tokens | who has none gets no data | without TLS: who sees the network has the token |
//!
//! Clocks are not trusted: freshness comes from random numbers of both sides. (Certificates have dates; TLS alone needs
//! a roughly right clock.) What is open when a file changes stays open: see [`leasehold_daemon::reload`].

pub mod key;
pub mod peers;
pub mod proof;
pub mod sealed;
pub mod sniffed;

#[cfg(test)]
pub(crate) mod tests;
