//! Throughput and latency: writes, reads, lists, strong reads, a mix, batches.

use super::{
    capability::Capability,
    job::{Job, Operation},
    run::Run,
    sample::Figure,
    system::{Kind, System},
};

/// A workload.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    /// What is asked, and by how many clients.
    operation: Operation,
    clients: usize,
    /// Writes go to the leader in any case.
    readers_at: At,
}

/// Where clients read.
#[derive(Clone, Copy)]
enum At {
    AllNodes,
    Leader,
    OneFollower,
}

/// In this order: the list wants exactly 1,000 records.
const WORKLOADS: [Load; 11] = [
    load("list-1000", Operation::List, 16),
    load("reads", Operation::Read, 64),
    load("reads-strong", Operation::Strong, 64),
    Load { readers_at: At::Leader, ..load("reads-strong-leader", Operation::Strong, 64) },
    Load { readers_at: At::OneFollower, ..load("reads-strong-follower", Operation::Strong, 64) },
    load("mixed-95-5", Operation::Mixed, 64),
    load("writes-1", Operation::Write, 1),
    load("writes-16", Operation::Write, 16),
    load("writes-64", Operation::Write, 64),
    load("writes-256", Operation::Write, 256),
    load("batches-of-100", Operation::Batch, 16),
];

const fn load(name: &'static str, operation: Operation, clients: usize) -> Load {
    Load { name, operation, clients, readers_at: At::AllNodes }
}

pub(super) fn names() -> Vec<&'static str> {
    WORKLOADS.iter().map(|load| load.name).collect()
}

/// Round by round, system by system, each fresh.
pub(super) async fn run(run: &mut Run) -> anyhow::Result<()> {
    let wanted: Vec<_> = WORKLOADS.into_iter().filter(|load| run.wants(load.name)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    for round in 0..run.settings.rounds {
        for kind in run.order(round) {
            let outcome = one(run, kind, round, &wanted).await;
            run.skip_rest("the loads", kind, round, outcome);
        }
    }
    Ok(())
}

async fn one(run: &mut Run, kind: Kind, round: u32, wanted: &[Load]) -> anyhow::Result<()> {
    let system = System::start(kind, &run.peers, 1_000).await?;
    let leader = system.leader().await?;
    let mut fill = job(run, Operation::Fill, &system, leader);
    (fill.clients, fill.records) = (16, 1_000);
    if kind != Kind::Floor {
        super::generator::carry_out(&run.peers, &fill).await?;
        system.settle().await?;
    }
    for Load { name, operation, clients, readers_at } in wanted {
        let capability = match operation {
            Operation::Strong => Some(Capability::Strong),
            Operation::Batch => Some(Capability::Batch),
            _ => None,
        };
        if let Some(capability) = capability
            && let Err(why) = system.has(capability).await
        {
            run.skip(name, kind.name(), why);
            continue;
        }
        let mut job = job(run, *operation, &system, system.leader().await?);
        let one = match readers_at {
            At::AllNodes => None,
            At::Leader => Some(job.leader),
            At::OneFollower => Some((job.leader + 1) % job.nodes.len()),
        };
        if let Some(one) = one {
            (job.nodes, job.leader) = (vec![job.nodes[one]], 0);
        }
        job.clients = *clients;
        (job.seconds, job.warm_up) = (run.settings.seconds, run.settings.warm_up);
        let rate = match operation {
            Operation::Batch => Figure::RecordsPerSecond,
            _ => Figure::PerSecond,
        };
        let figures = [rate, Figure::P50Ms, Figure::P99Ms, Figure::ServerCpuUs, Figure::GeneratorPercent];
        run.try_measure(&system, name, round, &job, &figures).await;
    }
    Ok(())
}

/// A job for this system, with what does not differ from one workload to the next.
pub(super) fn job(run: &Run, operation: Operation, system: &System, leader: usize) -> Job {
    let mut job = Job::new(system.kind.protocol(), operation, system.nodes(), leader);
    job.connections = run.settings.etcd_connections;
    job
}
