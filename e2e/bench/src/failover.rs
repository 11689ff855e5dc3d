//! Fail-over: the longest time in which no write was acknowledged, wherever it was sent to.
//!
//! A write starts at every node every 5 ms, whatever happened to the earlier ones: so a frozen node delays nobody, and no
//! client's own time-out is measured. A node that cannot write passes on or refuses, as it usually does.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::{
    generator::Watch,
    job::{Operation, Told},
    machine::Look,
    run::Run,
    sample::{Figure, NOISE},
    serve::job,
    system::{Kind, System},
};

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// SIGTERM, or `kubectl delete pod`.
    Graceful,
    /// SIGSTOP for the whole time.
    Freeze,
    /// SIGKILL.
    Kill,
    /// The API server is away, and nothing else happens.
    Outage,
}

const WORKLOADS: [(&str, Fault); 4] = [
    ("failover-graceful", Fault::Graceful),
    ("failover-freeze", Fault::Freeze),
    ("failover-kill", Fault::Kill),
    ("failover-api-outage", Fault::Outage),
];

/// Nothing should take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// After the fault, writes must have been acknowledged for this long without a new gap.
const CALM: i64 = 2_500_000_000;
/// On a machine with others on it there is always a new gap. It is not waited for longer than that.
const UNREST_MAX: Duration = Duration::from_secs(20);

pub(super) fn names() -> Vec<&'static str> {
    WORKLOADS.iter().map(|(name, _)| *name).collect()
}

/// Round by round, system by system, each fresh.
pub(super) async fn run(run: &mut Run) -> anyhow::Result<()> {
    let wanted: Vec<_> = WORKLOADS.into_iter().filter(|(name, _)| run.wants(name)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    for round in 0..run.settings.faults {
        for kind in run.order(round) {
            if let Kind::Redis | Kind::Floor = kind {
                run.skip("failover", kind.name(), "what it has acknowledged is on one node only");
                continue;
            }
            let outcome = all_faults(run, kind, round, &wanted).await;
            run.skip_rest("failover", kind, round, outcome);
        }
    }
    Ok(())
}

/// One fault after the other, of the same system.
async fn all_faults(run: &mut Run, kind: Kind, round: u32, wanted: &[(&'static str, Fault)]) -> anyhow::Result<()> {
    let mut system = System::start(kind, &run.peers, 0).await?;
    system.watch_over(&run.peers).await?;
    for (name, fault) in wanted {
        if *fault == Fault::Outage && system.api().is_none() {
            run.skip(name, kind.name(), "it has no API server");
            continue;
        }
        let look = Look::now();
        // After an error nobody knows what state it is in.
        let (before, gap, is_unrest) = one(run, &system, *fault).await.context(*name)?;
        let mut remarks = Vec::new();
        if before > gap / 2.0 {
            remarks.push(format!("{NOISE}a gap of {before:.0} ms before the fault"));
        }
        if is_unrest {
            remarks.push(format!("{NOISE}ever new gaps for {} s", UNREST_MAX.as_secs()));
        }
        run.note_remark(name, kind.name(), Figure::Ms, round, gap, look, remarks.join("; "));
    }
    Ok(())
}

/// The longest gap before the fault and after it, in milliseconds, and whether gaps ended.
async fn one(run: &Run, system: &System, fault: Fault) -> anyhow::Result<(f64, f64, bool)> {
    system.settle().await?;
    let leader = system.leader().await?;
    let job = job(run, Operation::Gap, system, leader);
    let mut watch = Watch::start(&run.peers, &job)?;
    let begin = Instant::now();
    let (mut since, mut worst) = (None, 0.0_f64);
    // A second of writes without a fault.
    let before = loop {
        ensure!(begin.elapsed() < PATIENCE, "writes do not begin");
        match watch.next().await? {
            Told::Gap { ms, .. } if since.is_some() => worst = worst.max(ms),
            Told::Last { at } if at > 0 => {
                let first = *since.get_or_insert(at);
                if at > first + 1_000_000_000 {
                    break worst;
                }
            }
            _ => {}
        }
    };
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = i64::try_from(at.as_nanos())?;
    match fault {
        Fault::Graceful => system.end_gracefully(leader).await?,
        Fault::Freeze => system.signal(leader, Signal::STOP)?,
        Fault::Kill => system.signal(leader, Signal::KILL)?,
        Fault::Outage => system.api().context("no API")?.down()?,
    }
    let after = after(&mut watch, at, fault, run.settings.outage_seconds).await;
    match fault {
        Fault::Freeze => system.signal(leader, Signal::CONT)?,
        Fault::Outage => system.api().context("no API")?.up()?,
        Fault::Graceful | Fault::Kill => {}
    }
    let (gap, is_unrest) = after?;
    Ok((before, gap, is_unrest))
}

async fn after(watch: &mut Watch, at: i64, fault: Fault, outage_seconds: f64) -> anyhow::Result<(f64, bool)> {
    let begin = Instant::now();
    #[allow(clippy::cast_possible_truncation)]
    let calm = if fault == Fault::Outage { (outage_seconds * 1e9) as i64 } else { CALM };
    // Up to two ticks are not reported.
    let (mut worst, mut quiet_from) = (10.0_f64, at);
    loop {
        ensure!(begin.elapsed() < PATIENCE, "writes were not acknowledged again in {PATIENCE:?}");
        match watch.next().await? {
            #[allow(clippy::cast_possible_truncation)]
            Told::Gap { from, ms } => {
                let end = from + (ms * 1e6) as i64;
                if end > at {
                    worst = worst.max(ms);
                    // Ever smaller gaps of a busy machine must not keep it waiting.
                    if ms > 100.0 {
                        quiet_from = quiet_from.max(end);
                    }
                }
            }
            Told::Last { at: last } => {
                let acknowledged_for = last - quiet_from;
                if acknowledged_for > calm {
                    return Ok((worst, false));
                }
                if last - at > calm + i64::try_from(UNREST_MAX.as_nanos())? && acknowledged_for > 0 {
                    return Ok((worst, true));
                }
            }
        }
    }
}
