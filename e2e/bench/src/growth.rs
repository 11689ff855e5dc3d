//! Much data: what a write costs at 10^3 .. 10^6 records, memory for each, and how long a restart and a join take.

use super::{
    capability::Capability,
    generator,
    job::Operation,
    machine::Look,
    run::Run,
    sample::Figure,
    serve::job,
    system::{Kind, System},
};

pub(super) const WORKLOADS: [&str; 4] = ["growth", "memory", "restart", "join"];
const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// One JSON file beyond that size takes the bench forever.
const FLOOR_MAX: u64 = 10_000;

pub(super) fn names() -> Vec<&'static str> {
    WORKLOADS.to_vec()
}

/// Round by round, system by system, each fresh and filled step by step.
pub(super) async fn run(run: &mut Run) -> anyhow::Result<()> {
    if !WORKLOADS.iter().any(|name| run.wants(name)) {
        return Ok(());
    }
    for round in 0..run.settings.growth_rounds {
        for kind in run.order(round) {
            match kind {
                // Its data is that of the one with WAIT.
                Kind::Redis => {}
                Kind::Floor => {
                    let outcome = floor(run, round).await;
                    run.skip_rest("growth", kind, round, outcome);
                }
                _ => {
                    let outcome = one(run, kind, round).await;
                    run.skip_rest("growth, memory, restart, join", kind, round, outcome);
                }
            }
        }
    }
    Ok(())
}

fn sizes(run: &Run) -> Vec<u64> {
    let most = run.settings.records;
    let mut sizes: Vec<u64> = SIZES.into_iter().filter(|size| *size < most).collect();
    sizes.push(most);
    sizes
}

async fn one(run: &mut Run, kind: Kind, round: u32) -> anyhow::Result<()> {
    let mut system = System::start(kind, &run.peers, 0).await?;
    let has_batch = system.has(Capability::Batch).await.is_ok();
    let (mut filled, mut small_bytes) = (0, 0.0);
    let sizes = sizes(run);
    for size in &sizes {
        let mut fill = job(run, Operation::Fill, &system, system.leader().await?);
        (fill.from, fill.records, fill.has_batch) = (filled, *size, has_batch);
        fill.clients = if has_batch { 8 } else { 256 };
        let look = Look::now();
        let done = generator::carry_out(&run.peers, &fill).await?;
        system.settle().await?;
        #[allow(clippy::cast_precision_loss)]
        let rate = done.records as f64 / done.seconds.max(1e-9);
        if *size == *sizes.last().unwrap_or(&0) && run.wants("growth") {
            run.note_value("growth-fill", kind.name(), Figure::RecordsPerSecond, round, rate, look);
        }
        filled = *size;
        if run.wants("growth") {
            write_cost(run, &system, round, *size).await?;
        }
        if *size == sizes[0] {
            small_bytes = system.resident_bytes();
        }
    }
    if run.wants("memory") && filled > sizes[0] {
        #[allow(clippy::cast_precision_loss)]
        let each = (system.resident_bytes() - small_bytes) / (filled - sizes[0]) as f64;
        let look = Look::now();
        run.note_value(&format!("memory-{filled}"), kind.name(), Figure::BytesPerRecord, round, each, look);
        let mib = small_bytes / 1024.0 / 1024.0;
        run.note_value(&format!("memory-{}", sizes[0]), kind.name(), Figure::Mib, round, mib, look);
    }
    if run.wants("restart") {
        let follower = (system.leader().await? + 1) % 3;
        let look = Look::now();
        let took = system.restart(follower, filled - 1).await?;
        run.note_value(&format!("restart-{filled}"), kind.name(), Figure::Ms, round, took.as_secs_f64() * 1e3, look);
        system.settle().await?;
    }
    if run.wants("join") {
        let look = Look::now();
        let took = system.join(&run.peers, filled - 1).await?;
        run.note_value(&format!("join-{filled}"), kind.name(), Figure::Ms, round, took.as_secs_f64() * 1e3, look);
    }
    Ok(())
}

async fn floor(run: &mut Run, round: u32) -> anyhow::Result<()> {
    for size in sizes(run).into_iter().filter(|size| *size <= FLOOR_MAX) {
        if run.wants("growth") {
            let system = System::start(Kind::Floor, &run.peers, size).await?;
            write_cost(run, &system, round, size).await?;
        }
    }
    Ok(())
}

/// Writes by one client beside `size` records: the cost of one must not depend on how many there are.
async fn write_cost(run: &mut Run, system: &System, round: u32, size: u64) -> anyhow::Result<()> {
    let mut writes = job(run, Operation::Write, system, system.leader().await?);
    (writes.seconds, writes.warm_up) = (run.settings.seconds, run.settings.warm_up);
    let figures = [Figure::P50Ms, Figure::P99Ms, Figure::ServerCpuUs];
    run.try_measure(system, &format!("growth-{size}"), round, &writes, &figures).await;
    Ok(())
}
