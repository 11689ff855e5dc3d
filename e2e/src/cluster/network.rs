//! A network of their own for the pods, in which links can be cut: Linux network namespaces.
//!
//! ```text
//!   harness's namespace (none of the machine's interfaces)          pod 0's namespace
//!     10.99.255.1  the embedded API, the clients
//!     10.99.1.1 ──────────────── veth ──────────────────────────── 10.99.1.2   store, sidecar
//!     10.99.2.1 ──────────────── veth ──────────────────────────── 10.99.2.2   (pod 1's namespace)
//!     forwards; `ip rule from 10.99.1.2 to 10.99.2.2 blackhole` is a cut from pod 0 to pod 1
//! ```
//!
//! A cut drops packets silently and in one direction, as a switch does. The namespaces have no names and hold nothing else:
//! they disappear with the processes in them, however those end. This needs `ip`, `unshare` and `nsenter`, and root or a
//! machine that lets users have namespaces of their own.

use std::{
    net::Ipv4Addr,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use leasehold_api::lock;

/// Set for the process that was restarted in a namespace of its own.
const INSIDE: &str = "LEASEHOLD_E2E_NETWORK";

/// The pods' namespaces. Dropping it ends them.
#[derive(Debug)]
pub struct Network {
    /// Each holds its namespace open, and ends when the harness does: it reads from a pipe.
    holders: Vec<Child>,
    /// Which ways are cut.
    cut: Mutex<Vec<(u16, u16)>>,
}

/// Where harness and clients are.
pub(super) const HUB: Ipv4Addr = Ipv4Addr::new(10, 99, 255, 1);

/// Is this process one that [`enter`] restarted?
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Restarts this program in a network namespace of its own. Returns only if that is impossible.
///
/// # Errors
/// Always: why not.
pub fn enter() -> anyhow::Error {
    // SAFETY of the order: the first that works. As root without a user namespace: signals and files as usual.
    let mut why = String::new();
    for flags in [&["--net"][..], &["--user", "--map-root-user", "--net"]] {
        let script = "ip link set lo up && ip link add name probe type veth peer name other && \
                      echo 1 > /proc/sys/net/ipv4/ip_forward && command -v nsenter";
        let probe = Command::new("unshare").args(flags).args(["sh", "-c", script]).stdin(Stdio::null()).output();
        match probe {
            Ok(probe) if probe.status.success() => {
                let program = match std::env::current_exe() {
                    Ok(program) => program,
                    Err(error) => return error.into(),
                };
                let mut command = Command::new("unshare");
                command.args(flags).arg("--").arg(program).args(std::env::args_os().skip(1)).env(INSIDE, "yes");
                return command.exec().into();
            }
            Ok(probe) => why = String::from_utf8_lossy(&probe.stderr).trim().to_owned(),
            Err(error) => why = error.to_string(),
        }
    }
    anyhow::anyhow!("cannot create a network namespace: {why}")
}

impl Network {
    /// Makes the namespaces of this many pods. This process must be alone in its own: see [`enter`].
    ///
    /// # Errors
    /// The first thing that did not work.
    pub fn make(pods: u16) -> anyhow::Result<Network> {
        ensure!(is_inside(), "this process is not in a network namespace of its own");
        run("ip", &["link", "set", "lo", "up"])?;
        run("ip", &["address", "add", &format!("{HUB}/32"), "dev", "lo"])?;
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("packets cannot be forwarded")?;
        let mut network = Network { holders: Vec::new(), cut: Mutex::default() };
        for i in 0..pods {
            network.add(i).with_context(|| format!("the network of pod {i}"))?;
        }
        Ok(network)
    }

    fn add(&mut self, i: u16) -> anyhow::Result<()> {
        // A Ctrl-C is for the harness.
        let holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .context("unshare")?;
        let pid = holder.id();
        self.holders.push(holder);
        let namespace = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/net"));
        let (own, deadline) = (namespace("self")?, Instant::now() + Duration::from_secs(30));
        while namespace(&pid.to_string())? == own {
            ensure!(Instant::now() < deadline, "no namespace is made");
            std::thread::sleep(Duration::from_millis(2));
        }
        let (near, far) = (format!("10.99.{}.1", i + 1), Network::host(i));
        let (link, pid) = (format!("pod{i}"), pid.to_string());
        run("ip", &["link", "add", "name", &link, "type", "veth", "peer", "name", "eth0", "netns", &pid])?;
        run("ip", &["address", "add", &format!("{near}/24"), "dev", &link])?;
        run("ip", &["link", "set", &link, "up"])?;
        let inside = format!(
            "ip link set lo up && ip address add {far}/24 dev eth0 && ip link set eth0 up && ip route add default via {near}"
        );
        run("nsenter", &["--target", &pid, "--net", "sh", "-c", &inside])
    }

    /// The pods' addresses, as the sidecar's templates compute them.
    pub(super) const HOSTS: &str = "10.99.{1+1*ordinal}.2";

    /// The address of pod `i`.
    pub fn host(i: u16) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, u8::try_from(i + 1).unwrap_or(254), 2)
    }

    /// What to put before a command so that it runs where pod `i` is.
    pub(super) fn enter(&self, i: u16) -> anyhow::Result<Vec<String>> {
        let holder = self.holders.get(usize::from(i)).with_context(|| format!("pod {i} has no network"))?;
        let pid = holder.id().to_string();
        Ok(["nsenter", "--target", &pid, "--net", "--"].map(str::to_owned).to_vec())
    }

    /// Packets from one pod no longer reach another.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn cut(&self, from: u16, to: u16) -> anyhow::Result<()> {
        let mut cut = lock(&self.cut);
        if !cut.contains(&(from, to)) {
            rule("add", from, to)?;
            cut.push((from, to));
        }
        Ok(())
    }

    /// Everybody reaches everybody.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn heal(&self) -> anyhow::Result<()> {
        let mut cut = lock(&self.cut);
        while let Some((from, to)) = cut.last().copied() {
            rule("delete", from, to)?;
            cut.pop();
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            drop(holder.stdin.take());
            let _ = holder.wait();
        }
    }
}

fn rule(what: &str, from: u16, to: u16) -> anyhow::Result<()> {
    let (from, to) = (Network::host(from).to_string(), Network::host(to).to_string());
    run("ip", &["rule", what, "from", &from, "to", &to, "pref", "1000", "blackhole"])
}

fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().with_context(|| program.to_owned())?;
    if !output.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
