//! One run: what is measured, of whom, and what was found so far.

use anyhow::ensure;

use super::{
    generator,
    job::{Job, Outcome},
    machine::{self, Look},
    sample::{Figure, Sample, Skipped},
    system::{Kind, Peers, System},
};

/// How much is done.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// How often each throughput workload is measured at each system.
    pub(super) rounds: u32,
    /// For how long.
    pub(super) seconds: f64,
    pub(super) warm_up: f64,
    /// Over how many connections etcd's clients go.
    pub(super) etcd_connections: usize,
    /// How often each fault is made.
    pub(super) faults: u32,
    /// How often the workloads with much data are measured, and with how much.
    pub(super) growth_rounds: u32,
    pub(super) records: u64,
    /// How often each election is held, and how long the contenders are watched when nothing happens.
    pub(super) elections: u32,
    pub(super) idle_seconds: f64,
    /// How long the API server is away.
    pub(super) outage_seconds: f64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) settings: Settings,
    pub(super) systems: Vec<Kind>,
    pub(super) peers: Peers,
    /// The workloads to measure.
    pub(super) only: Vec<&'static str>,
    pub(super) samples: Vec<Sample>,
    pub(super) skipped: Vec<Skipped>,
}

impl Run {
    /// The same wishes, and nothing found yet: for what is measured beside something else.
    pub(super) fn fork(&self) -> Run {
        Run {
            settings: self.settings.clone(),
            systems: self.systems.clone(),
            peers: self.peers.clone(),
            only: self.only.clone(),
            samples: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Takes over what a fork has found.
    pub(super) fn join(&mut self, fork: Run) {
        self.samples.extend(fork.samples);
        for skipped in fork.skipped {
            if !self.skipped.contains(&skipped) {
                self.skipped.push(skipped);
            }
        }
    }

    /// This workload was asked for.
    pub(super) fn wants(&self, workload: &str) -> bool {
        self.only.contains(&workload)
    }

    /// The systems in this round's order, so that no system always goes first.
    pub(super) fn order(&self, round: u32) -> Vec<Kind> {
        let mut systems = self.systems.clone();
        let by = round as usize % systems.len().max(1);
        systems.rotate_left(by);
        systems
    }

    pub(super) fn skip(&mut self, workload: &str, system: &str, why: impl ToString) {
        let skipped = Skipped { workload: workload.into(), system: system.into(), why: why.to_string() };
        if !self.skipped.contains(&skipped) {
            eprintln!("  skipped: {workload} of {system}: {}", skipped.why);
            self.skipped.push(skipped);
        }
    }

    /// A failed system is noted, and the run continues.
    pub(super) fn skip_rest(&mut self, workloads: &str, kind: Kind, round: u32, outcome: anyhow::Result<()>) {
        if let Err(error) = outcome {
            self.skip(&format!("the rest of {workloads}"), kind.name(), format!("in round {round}: {error:#}"));
        }
    }

    pub(super) fn note(&mut self, sample: Sample) {
        let more = if sample.remark.is_empty() { String::new() } else { format!("   ({})", sample.remark) };
        if sample.figure != Figure::GeneratorPercent {
            let (value, unit) = (super::report::short(sample.value), sample.figure.unit());
            eprintln!("  round {} {:<16} {:<20} {value:>9} {unit}{more}", sample.round, sample.system, sample.workload);
        }
        self.samples.push(sample);
    }

    /// As [`Run::measure`]; a failed load is noted as not measured, and the run continues.
    pub(super) async fn try_measure(
        &mut self,
        system: &System,
        workload: &str,
        round: u32,
        job: &Job,
        figures: &[Figure],
    ) -> Option<Outcome> {
        self.try_measure_as(system, system.kind.name(), workload, round, job, figures).await
    }

    /// The same, where the system has another name in the table.
    pub(super) async fn try_measure_as(
        &mut self,
        system: &System,
        name: &str,
        workload: &str,
        round: u32,
        job: &Job,
        figures: &[Figure],
    ) -> Option<Outcome> {
        match self.measure(system, name, workload, round, job, figures).await {
            Ok(outcome) => Some(outcome),
            Err(error) => {
                self.skip(workload, name, format!("in round {round}: {error:#}"));
                None
            }
        }
    }

    /// Has the job done, and notes what it says about the system, the generator and the neighbours.
    async fn measure(
        &mut self,
        system: &System,
        name: &str,
        workload: &str,
        round: u32,
        job: &Job,
        figures: &[Figure],
    ) -> anyhow::Result<Outcome> {
        let (look, servers, own) = (Look::now(), system.cpu_seconds(), machine::cpu_seconds(std::process::id()));
        let outcome = generator::carry_out(&self.peers, job).await?;
        ensure!(outcome.operations > 0, "no operation began and ended in the measured {} s", outcome.seconds);
        let between = Look::now().since(look);
        let servers = (system.cpu_seconds() - servers).max(0.0);
        let own = (machine::cpu_seconds(std::process::id()) - own).max(0.0);
        let others = (between.busy_seconds - servers - outcome.cpu_seconds - own).max(0.0) / between.seconds;
        let mut remark = String::new();
        if outcome.failed > 0 {
            remark = format!("{} failed, the first: {}", outcome.failed, outcome.first_failure);
        }
        #[allow(clippy::cast_precision_loss)]
        let per = |count: u64| count as f64 / outcome.seconds.max(1e-9);
        #[allow(clippy::cast_precision_loss)]
        for figure in figures {
            let value = match figure {
                Figure::PerSecond => per(outcome.operations),
                Figure::RecordsPerSecond => per(outcome.records),
                Figure::P50Ms => outcome.latency_us.p50 as f64 / 1e3,
                Figure::P99Ms => outcome.latency_us.p99 as f64 / 1e3,
                Figure::ServerCpuUs => servers * 1e6 / outcome.total_operations.max(1) as f64,
                Figure::GeneratorPercent => outcome.cpu_seconds / between.seconds * 100.0,
                Figure::Ms | Figure::BytesPerRecord | Figure::Mib | Figure::RequestsPerMinute => continue,
            };
            self.note(Sample {
                workload: workload.into(),
                system: name.into(),
                figure: *figure,
                round,
                value,
                steal: between.steal_share,
                others,
                remark: std::mem::take(&mut remark),
            });
        }
        Ok(outcome)
    }

    /// Notes a value that was measured separately since `look`. Without a load generator nobody can tell whose time it was,
    /// so only the host's share counts as noise.
    pub(super) fn note_value(
        &mut self,
        workload: &str,
        system: &str,
        figure: Figure,
        round: u32,
        value: f64,
        look: Look,
    ) {
        self.note_remark(workload, system, figure, round, value, look, String::new());
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn note_remark(
        &mut self,
        workload: &str,
        system: &str,
        figure: Figure,
        round: u32,
        value: f64,
        look: Look,
        remark: String,
    ) {
        let steal = Look::now().since(look).steal_share;
        let (workload, system) = (workload.into(), system.into());
        self.note(Sample { workload, system, figure, round, value, steal, others: 0.0, remark });
    }
}
