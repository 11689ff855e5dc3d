//! Which loopback ports a process cluster uses.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The ports of one cluster: pod `i` has sidecar, store and peer port at `first + step * i`, `+ 1` and `+ 2`.
#[derive(Debug)]
pub struct Ports {
    /// Of the embedded API.
    pub api: u16,
    /// Of pod 0's sidecar.
    pub first: u16,
    /// From one pod to the next.
    pub step: u16,
    /// Held while the block is ours, so that no other test run uses it. Nobody connects to it.
    _claim: Option<TcpListener>,
}

/// Below Linux's range for outgoing ports, so that no client's port is in the way.
const BLOCKS_FROM: u16 = 20_000;
const BLOCKS_TO: u16 = 32_000;
const BLOCK: u16 = 100;
const STEP: u16 = 10;
/// How long a port may be taken that is about to be free.
const PATIENCE: Duration = Duration::from_millis(500);

impl Ports {
    /// The ports of the demo: sidecars 8088, 8188, ..., stores 8089, 8189, ..., peers 8090, 8190, ..., the API 8087.
    ///
    /// # Errors
    /// One of them is taken; says which.
    pub fn of_demo(pods: u16) -> anyhow::Result<Ports> {
        let ports = Ports { api: 8087, first: 8088, step: 100, _claim: None };
        ports.check(pods).context("the demo's ports are fixed; what listens there must end first")?;
        Ok(ports)
    }

    /// A block that is free and stays ours: two clusters can run at once.
    ///
    /// # Errors
    /// No block is free.
    pub fn claim() -> anyhow::Result<Ports> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let blocks = (BLOCKS_TO - BLOCKS_FROM) / BLOCK;
        // Test runs start at different blocks, so that they seldom meet.
        let start = u16::try_from(std::process::id() % u32::from(blocks)).unwrap_or(0);
        for _ in 0..blocks {
            let turn = NEXT.fetch_add(1, Ordering::Relaxed);
            let base = BLOCKS_FROM + start.wrapping_add(turn) % blocks * BLOCK;
            let Ok(claim) = TcpListener::bind((Ipv4Addr::LOCALHOST, base + BLOCK - 1)) else { continue };
            let ports = Ports { api: base, first: base + STEP, step: STEP, _claim: Some(claim) };
            if ports.check(BLOCK / STEP - 2).is_ok() {
                return Ok(ports);
            }
        }
        bail!("no free block of {BLOCK} ports between {BLOCKS_FROM} and {BLOCKS_TO}")
    }

    fn check(&self, pods: u16) -> anyhow::Result<()> {
        let pods = (0..pods).flat_map(|i| [self.sidecar(i), self.store(i), self.peer(i)]);
        for port in pods.chain([self.api]) {
            bind_patiently(port).with_context(|| format!("port {port} on 127.0.0.1 is taken"))?;
        }
        Ok(())
    }

    /// HTTP of pod `i`'s sidecar.
    pub fn sidecar(&self, i: u16) -> u16 {
        self.first + self.step * i
    }

    /// HTTP of pod `i`'s store.
    pub fn store(&self, i: u16) -> u16 {
        self.sidecar(i) + 1
    }

    /// The port between replicas of pod `i`.
    pub fn peer(&self, i: u16) -> u16 {
        self.sidecar(i) + 2
    }

    /// HTTP of an agent that makes backups: there are ports for three of them between the API's and the first pod's, or, in the
    /// demo, between those of pods 0 and 1.
    pub fn agent(&self, i: u16) -> u16 {
        self.api + 5 + i
    }

    /// The sidecar's `--member-address`, which computes a store's port from the ordinal.
    pub fn member_address(&self) -> String {
        format!("127.0.0.1:{{{}+{}*ordinal}}", self.first + 1, self.step)
    }

    /// The sidecar's `--member-sidecar-address`.
    pub fn member_sidecar_address(&self) -> String {
        format!("127.0.0.1:{{{}+{}*ordinal}}", self.first, self.step)
    }

    /// The sidecar's `--member-peer-address`.
    pub fn member_peer_address(&self) -> String {
        format!("127.0.0.1:{{{}+{}*ordinal}}", self.first + 2, self.step)
    }
}

/// A socket that was closed here a moment ago may be open in a child that another thread is starting: between fork and exec
/// it has all of ours.
fn bind_patiently(port: u16) -> io::Result<TcpListener> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            bound => return bound,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn two_claims_never_share_a_port() {
        let (a, b) = (Ports::claim().unwrap(), Ports::claim().unwrap());
        assert!(a.api.abs_diff(b.api) >= BLOCK);
        assert_eq!(a.member_address(), format!("127.0.0.1:{{{}+10*ordinal}}", a.store(0)));
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let ports = Ports::claim().unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.peer(1))).unwrap();
        let error = ports.check(3).unwrap_err();
        assert!(format!("{error}").contains(&ports.peer(1).to_string()), "{error}");
    }
}
