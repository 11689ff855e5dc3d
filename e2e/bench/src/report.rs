//! The results of a run: a table for people, JSON for programs, and what was too noisy to judge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sample::{Figure, Sample, Skipped, Summary};

/// Ours, in every table: what the ratios are about.
pub(super) const OURS: &str = "Leasehold";

/// All of a run, as the JSON file has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) version: u32,
    /// The versions of what was measured.
    pub(super) versions: BTreeMap<String, String>,
    pub(super) machine: String,
    pub(super) began: String,
    pub(super) preset: String,
    pub(super) record_bytes: usize,
    pub(super) samples: Vec<Sample>,
    pub(super) skipped: Vec<Skipped>,
}

/// A row of the table: one figure of one workload, by system.
pub(super) type Rows = BTreeMap<(String, Figure), BTreeMap<String, Summary>>;

impl Report {
    pub(super) fn rows(&self) -> Rows {
        let mut rows: BTreeMap<(String, Figure), BTreeMap<String, Vec<&Sample>>> = BTreeMap::new();
        for sample in &self.samples {
            let row = rows.entry((sample.workload.clone(), sample.figure)).or_default();
            row.entry(sample.system.clone()).or_default().push(sample);
        }
        let summaries = |row: BTreeMap<String, Vec<&Sample>>| {
            row.into_iter().filter_map(|(system, samples)| Some((system, Summary::of(samples)?))).collect()
        };
        rows.into_iter().map(|(name, row)| (name, summaries(row))).collect()
    }

    /// The systems in the order in which they were met.
    pub(super) fn systems(&self) -> Vec<String> {
        let mut systems: Vec<String> = Vec::new();
        for sample in &self.samples {
            if !systems.contains(&sample.system) {
                systems.push(sample.system.clone());
            }
        }
        systems.sort_by_key(|system| (!system.starts_with(OURS), system.clone()));
        systems
    }

    /// The table: medians, the spread of the repeats, and by how much we are better than each.
    pub(super) fn table(&self) -> String {
        let (rows, systems) = (self.rows(), self.systems());
        let mut lines = vec![
            format!("{}, {} bytes a record, {}", self.machine, self.record_bytes, self.preset),
            self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", "),
            "median; (how many times better than it Leasehold is); ~ too noisy to judge, see below".to_owned(),
        ];
        let mut last = "";
        for ((workload, figure), row) in &rows {
            if workload != last {
                lines.push(String::new());
                lines.push(workload.clone());
                last = workload;
            }
            let mut line = format!("  {:<22}", figure.unit());
            for system in systems.iter().filter(|system| row.contains_key(*system)) {
                let Some(summary) = row.get(system) else { continue };
                let noisy = if summary.too_noisy().is_empty() { "" } else { "~" };
                let ratio = ratio(*figure, row.get(OURS), summary).filter(|_| system != OURS);
                let ratio = ratio.map_or(String::new(), |ratio| format!(" ({}x)", short(ratio)));
                line.push_str(&format!("  {system}: {noisy}{}{ratio}", short(summary.median)));
            }
            lines.push(line);
        }
        if !self.skipped.is_empty() {
            lines.extend([String::new(), "Not measured:".to_owned()]);
            let skipped = self.skipped.iter().map(|s| format!("  {} of {}: {}", s.workload, s.system, s.why));
            lines.extend(skipped);
        }
        lines.push(String::new());
        lines.extend(self.judgement());
        lines.join("\n")
    }

    /// What must not be concluded from this run.
    fn judgement(&self) -> Vec<String> {
        let rows = self.rows();
        let compared = rows.iter().filter(|((_, figure), _)| figure.is_compared());
        let (mut all, mut noisy) = (0, Vec::new());
        for ((workload, figure), row) in compared {
            for (system, summary) in row {
                all += 1;
                let why = summary.too_noisy();
                if !why.is_empty() {
                    noisy.push(format!("  {workload}, {}, {system}: {}", figure.unit(), why.join(", ")));
                }
            }
        }
        if noisy.is_empty() {
            return vec![format!("All {all} figures are quiet enough to judge.")];
        }
        let count = noisy.len();
        let mut lines = vec![format!("TOO NOISY TO JUDGE: {count} of {all} figures. Nothing follows from these:")];
        let most = 40;
        lines.extend(noisy.into_iter().take(most));
        if count > most {
            lines.push(format!("  and {} more (the JSON file has all)", count - most));
        }
        lines
    }
}

/// How many times better ours is than the other: more a second, or less time.
pub(super) fn ratio(figure: Figure, ours: Option<&Summary>, other: &Summary) -> Option<f64> {
    let ours = ours.filter(|_| figure.is_compared())?.median;
    let (more, less) = if figure.higher_is_better() { (ours, other.median) } else { (other.median, ours) };
    (less > 0.0).then(|| more / less)
}

/// A number with three digits that say something.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 10_000.0 => format!("{:.1}k", value / 1_000.0),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.995 || small == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample(system: &str, figure: Figure, value: f64, round: u32) -> Sample {
        let (workload, system) = ("writes-64".to_owned(), system.to_owned());
        Sample { workload, system, figure, round, value, steal: 0.0, others: 0.0, remark: String::new() }
    }

    fn report() -> Report {
        let mut samples = Vec::new();
        for round in 0..3 {
            let jitter = f64::from(round) * 0.01;
            for (system, rate, ms) in [(OURS, 3_000.0, 2.0), ("etcd", 1_000.0, 5.0)] {
                samples.push(sample(system, Figure::PerSecond, rate * (1.0 + jitter), round));
                samples.push(sample(system, Figure::P50Ms, ms * (1.0 + jitter), round));
            }
        }
        Report {
            version: 1,
            versions: BTreeMap::new(),
            machine: "a machine".into(),
            began: "now".into(),
            preset: "quick".into(),
            record_bytes: 128,
            samples,
            skipped: vec![Skipped { workload: "w".into(), system: "s".into(), why: "no program".into() }],
        }
    }

    #[test]
    fn the_table_says_how_many_times_better_we_are_for_rates_and_for_times() {
        let table = report().table();
        assert!(table.contains("Leasehold: 3030  etcd: 1010 (3.00x)"), "{table}");
        assert!(table.contains("Leasehold: 2.02  etcd: 5.05 (2.50x)"), "{table}");
        assert!(table.contains("w of s: no program"), "{table}");
        assert!(table.contains("All 4 figures are quiet enough"), "{table}");
    }

    #[test]
    fn a_noisy_figure_is_marked_where_it_stands_and_named_below() {
        let mut report = report();
        report.samples.push(sample("etcd", Figure::P50Ms, 50.0, 3));
        let table = report.table();
        assert!(table.contains("etcd: ~5.07") && table.contains("TOO NOISY TO JUDGE: 1 of 4"), "{table}");
        assert!(table.contains("writes-64, p50, ms, etcd: spread"), "{table}");
    }

    #[test]
    fn a_report_is_read_again_as_it_was_written() {
        let text = serde_json::to_string(&report()).unwrap();
        let again: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(again.table(), report().table());
    }
}
