//! What was found: a column of figures for each system, and the table of all.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::short;

/// The figures of one system with one duration.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Column {
    pub(super) system: String,
    pub(super) lease_seconds: u64,
    pub(super) figures: Vec<Figure>,
    /// Requests of the electors by verb in each second after the API server came back.
    pub(super) after_restart: BTreeMap<i64, BTreeMap<String, usize>>,
    /// Phases that were not measured, and why.
    pub(super) skipped: Vec<String>,
}

/// One value.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) phase: &'static str,
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) value: f64,
}

impl Column {
    pub(super) fn note(&mut self, phase: &'static str, name: impl Into<String>, unit: &'static str, value: f64) {
        let name = name.into();
        eprintln!("    {phase:<10} {name:<42} {:>9} {unit}", short(value));
        self.figures.push(Figure { phase, name, unit, value });
    }

    pub(super) fn value(&self, phase: &str, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.phase == phase && figure.name == name).map(|figure| figure.value)
    }

    /// Two figures of one name differ in their unit.
    fn in_unit(&self, (phase, name, unit): (&str, &str, &str)) -> Option<f64> {
        let is_it = |figure: &&Figure| (figure.phase, figure.name.as_str(), figure.unit) == (phase, name, unit);
        self.figures.iter().find(is_it).map(|figure| figure.value)
    }

    fn title(&self) -> String {
        format!("{} {} s", self.system, self.lease_seconds)
    }
}

/// All columns side by side.
pub(super) fn table(columns: &[Column]) -> String {
    let mut rows: Vec<(&'static str, &str, &'static str)> = Vec::new();
    for figure in columns.iter().flat_map(|column| &column.figures) {
        let row = (figure.phase, figure.name.as_str(), figure.unit);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let titles: String = columns.iter().map(|column| format!("{:>17}", column.title())).collect();
    let mut lines = vec![format!("{:<68}{titles}", "")];
    for (phase, name, unit) in rows {
        let cell = |column: &Column| column.in_unit((phase, name, unit)).map_or_else(|| "-".to_owned(), short);
        let cells: String = columns.iter().map(|column| format!("{:>17}", cell(column))).collect();
        lines.push(format!("{:<68}{cells}", format!("{phase:<11}{name}, {unit}")));
    }
    let skipped = columns
        .iter()
        .flat_map(|column| column.skipped.iter().map(|why| format!("Not measured with {}: {why}", column.title())));
    lines.extend(skipped);
    lines.join("\n")
}

/// The middle one and the largest, of nanoseconds in seconds.
pub(super) fn median_and_worst(mut times: Vec<i64>) -> (f64, f64) {
    times.sort_unstable();
    #[allow(clippy::cast_precision_loss)]
    let seconds = |time: Option<&i64>| time.map_or(0.0, |time| *time as f64 / 1e9);
    (seconds(times.get(times.len() / 2)), seconds(times.last()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_side_by_side_and_what_one_lacks_is_a_dash() {
        let column = |system: &str| Column {
            system: system.into(),
            lease_seconds: 15,
            figures: Vec::new(),
            after_restart: BTreeMap::new(),
            skipped: Vec::new(),
        };
        let (mut ours, mut theirs) = (column("ours"), column("theirs"));
        ours.note("steady", "requests", "per second", 200.0);
        theirs.note("steady", "requests", "per second", 812.0);
        theirs.note("kill", "gap", "s", 15.0);
        theirs.skipped.push("restart: no".into());
        let table = table(&[ours, theirs]);
        let squeezed: Vec<String> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(squeezed[0], "ours 15 s theirs 15 s");
        assert_eq!(squeezed[1], "steady requests, per second 200 812");
        assert_eq!(squeezed[2], "kill gap, s - 15.0");
        assert_eq!(squeezed[3], "Not measured with theirs 15 s: restart: no");
    }

    #[test]
    fn the_median_and_the_worst_are_of_all_apps() {
        assert_eq!(median_and_worst(vec![3_000_000_000, 1_000_000_000, 2_000_000_000]), (2.0, 3.0));
        assert_eq!(median_and_worst(Vec::new()), (0.0, 0.0));
    }
}
