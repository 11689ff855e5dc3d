//! One measured value, and what many of them say together.

use serde::{Deserialize, Serialize};

/// What a value is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Figure {
    /// Operations a second.
    PerSecond,
    /// Records a second.
    RecordsPerSecond,
    /// Half of the operations took no longer, in milliseconds.
    P50Ms,
    /// 99 of 100 took no longer, in milliseconds.
    P99Ms,
    /// Processor time of all the system's processes for one operation, in microseconds. Hardly changed by neighbours.
    ServerCpuUs,
    /// Which share of the machine the load generator took, in percent.
    GeneratorPercent,
    /// A time, in milliseconds.
    Ms,
    /// Memory of one node without pages of files, in bytes for each record.
    BytesPerRecord,
    /// Memory of the largest process without pages of files, in MiB.
    Mib,
    /// Requests to the API server a minute.
    RequestsPerMinute,
}

impl Figure {
    pub(super) fn unit(self) -> &'static str {
        match self {
            Figure::PerSecond => "per second",
            Figure::RecordsPerSecond => "records a second",
            Figure::P50Ms => "p50, ms",
            Figure::P99Ms => "p99, ms",
            Figure::ServerCpuUs => "server CPU, us each",
            Figure::GeneratorPercent => "generator, % of CPUs",
            Figure::Ms => "ms",
            Figure::BytesPerRecord => "bytes a record",
            Figure::Mib => "MiB",
            Figure::RequestsPerMinute => "requests a minute",
        }
    }

    pub(super) fn higher_is_better(self) -> bool {
        matches!(self, Figure::PerSecond | Figure::RecordsPerSecond)
    }

    /// The load generator's share is reported, not compared.
    pub(super) fn is_compared(self) -> bool {
        self != Figure::GeneratorPercent
    }
}

/// One measured value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sample {
    pub(super) workload: String,
    pub(super) system: String,
    pub(super) figure: Figure,
    pub(super) round: u32,
    pub(super) value: f64,
    /// Which share of the processors the host took away meanwhile.
    pub(super) steal: f64,
    /// Which share of the processors others used meanwhile.
    pub(super) others: f64,
    /// What went wrong on the way, if anything did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) remark: String,
}

/// What was not measured, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Skipped {
    pub(super) workload: String,
    pub(super) system: String,
    pub(super) why: String,
}

/// Many samples of the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// From the lowest to the highest, as a share of the median.
    pub(super) spread: f64,
    pub(super) count: usize,
    pub(super) steal: f64,
    pub(super) others: f64,
    /// How many samples report a disturbance: their remark starts with [`NOISE`].
    pub(super) disturbed: usize,
}

/// The start of a disturbed sample's remark.
pub(super) const NOISE: &str = "noise: ";

/// From here on a figure is too noisy to judge.
pub(super) const SPREAD_MAX: f64 = 0.25;
const STEAL_MAX: f64 = 0.05;
const OTHERS_MAX: f64 = 0.10;

impl Summary {
    /// None if there are no samples.
    pub(super) fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Option<Summary> {
        let samples: Vec<&Sample> = samples.into_iter().collect();
        let mut values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
        values.sort_by(f64::total_cmp);
        let (first, last) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Summary {
            median,
            low: *first,
            high: *last,
            spread: if median == 0.0 { 0.0 } else { (last - first) / median.abs() },
            count: values.len(),
            steal: samples.iter().map(|sample| sample.steal).fold(0.0, f64::max),
            others: samples.iter().map(|sample| sample.others).fold(0.0, f64::max),
            disturbed: samples.iter().filter(|sample| sample.remark.starts_with(NOISE)).count(),
        })
    }

    /// Why nothing should be concluded from it; empty: something may. One sample has no spread, so it proves nothing.
    pub(super) fn too_noisy(&self) -> Vec<String> {
        let percent = |share: f64| (share * 100.0).round();
        let mut why = Vec::new();
        if self.count < 2 {
            why.push("measured once".to_owned());
        } else if self.spread > SPREAD_MAX {
            why.push(format!("spread {} %", percent(self.spread)));
        }
        if self.disturbed * 2 >= self.count {
            why.push(format!("{} of {} disturbed", self.disturbed, self.count));
        }
        if self.steal > STEAL_MAX {
            why.push(format!("the host took {} %", percent(self.steal)));
        }
        if self.others > OTHERS_MAX {
            why.push(format!("others used {} %", percent(self.others)));
        }
        why
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn samples(values: &[f64], others: f64) -> Vec<Sample> {
        let sample = |value: &f64| Sample {
            workload: "w".into(),
            system: "s".into(),
            figure: Figure::Ms,
            round: 0,
            value: *value,
            steal: 0.0,
            others,
            remark: String::new(),
        };
        values.iter().map(sample).collect()
    }

    #[test]
    fn a_figure_is_judged_only_if_its_repeats_agree_and_nobody_else_was_there() {
        let quiet = Summary::of(&samples(&[10.0, 11.0, 9.0], 0.01)).unwrap();
        assert_eq!((quiet.median, quiet.count), (10.0, 3));
        assert!(quiet.too_noisy().is_empty(), "{quiet:?}");
        for (values, others, why) in [
            (&[10.0, 13.0, 10.0][..], 0.0, "spread 30 %"),
            (&[10.0, 10.0], 0.4, "others used 40 %"),
            (&[1.0], 0.0, "once"),
        ] {
            let said = Summary::of(&samples(values, others)).unwrap().too_noisy().join(", ");
            assert!(said.contains(why), "{said:?} should say {why:?}");
        }
        let mut disturbed = samples(&[5.0, 5.0], 0.0);
        disturbed[0].remark = format!("{NOISE}a neighbour");
        assert_eq!(Summary::of(&disturbed).unwrap().too_noisy(), ["1 of 2 disturbed"]);
        assert_eq!(Summary::of(&samples(&[4.0, 2.0], 0.0)).unwrap().median, 3.0);
        assert!(Summary::of(&[]).is_none());
    }
}
