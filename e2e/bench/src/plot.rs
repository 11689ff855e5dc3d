//! SVG pictures of a report, as the README shows them: no script, no font of their own, a white background.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use anyhow::Context;

use super::{
    report::{OURS, Report, Rows, short},
    sample::Figure,
};

/// One group of bars: its label, the workload and the figure.
type Group = (&'static str, &'static str, Figure);

/// A picture of bars.
struct Bars {
    file: &'static str,
    title: &'static str,
    unit: &'static str,
    groups: &'static [Group],
    logarithmic: bool,
}

const BARS: [Bars; 4] = [
    Bars {
        file: "writes.svg",
        title: "Durable writes a second, by clients (more is better)",
        unit: "",
        groups: &[
            ("1 client", "writes-1", Figure::PerSecond),
            ("16 clients", "writes-16", Figure::PerSecond),
            ("64 clients", "writes-64", Figure::PerSecond),
            ("256 clients", "writes-256", Figure::PerSecond),
        ],
        logarithmic: false,
    },
    Bars {
        file: "reads.svg",
        title: "Reads, lists, mixes and batches a second (more is better; logarithmic)",
        unit: "",
        groups: &[
            ("reads", "reads", Figure::PerSecond),
            ("linearizable reads", "reads-strong", Figure::PerSecond),
            ("lists of 1,000", "list-1000", Figure::PerSecond),
            ("95 reads, 5 writes", "mixed-95-5", Figure::PerSecond),
            ("records in batches", "batches-of-100", Figure::RecordsPerSecond),
        ],
        logarithmic: true,
    },
    Bars {
        file: "failover.svg",
        title: "Longest time without an acknowledged write, ms (less is better; logarithmic)",
        unit: " ms",
        groups: &[
            ("leader killed", "failover-kill", Figure::Ms),
            ("leader frozen", "failover-freeze", Figure::Ms),
            ("leader ended gracefully", "failover-graceful", Figure::Ms),
        ],
        logarithmic: true,
    },
    Bars {
        file: "election.svg",
        title: "Time to a new leader, ms, with a Lease of 15 s (less is better; logarithmic)",
        unit: " ms",
        groups: &[
            ("node of the leader lost", "election-kill", Figure::Ms),
            ("leader ended gracefully", "election-graceful", Figure::Ms),
        ],
        logarithmic: true,
    },
];

/// One for each system that a run may have, stores and electors together. Told apart also by those who see colours
/// otherwise.
const COLOURS: [&str; 8] = ["#0b6bcb", "#e08a00", "#c2352b", "#8a5fb5", "#7a7f87", "#2b8a57", "#6b3e1d", "#23b5c9"];

/// Draws what the report has data for. Which files.
///
/// # Errors
/// A file cannot be written.
pub(super) fn draw(report: &Report, folder: &Path) -> anyhow::Result<Vec<String>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (rows, mut files) = (report.rows(), Vec::new());
    let mut pictures: Vec<(&str, Option<String>)> =
        BARS.iter().map(|bars| (bars.file, bars.draw(&rows, report))).collect();
    pictures.push(("growth.svg", growth(&rows, report)));
    for (file, picture) in pictures {
        if let Some(picture) = picture {
            let path = folder.join(file);
            std::fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))?;
            files.push(path.display().to_string());
        }
    }
    Ok(files)
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 170.0;
const BAR: f64 = 15.0;

impl Bars {
    /// Horizontal bars: names and numbers are read without turning one's head.
    fn draw(&self, rows: &Rows, report: &Report) -> Option<String> {
        let groups: Vec<_> = self
            .groups
            .iter()
            .filter_map(|(label, workload, figure)| Some((label, rows.get(&((*workload).to_owned(), *figure))?)))
            .collect();
        let values = || groups.iter().flat_map(|(_, row)| row.values().map(|summary| summary.median));
        let most = values().fold(0.0, f64::max);
        if most <= 0.0 {
            return None;
        }
        let least = values().filter(|value| *value > 0.0).fold(most, f64::min);
        let room = WIDTH - LEFT - 80.0;
        // The shortest bar of a logarithmic scale begins a decade below its value: a length of nothing says nothing.
        let floor = (least.log10().floor() - 0.3).min(most.log10() - 1.0);
        let length = |value: f64| {
            let share = if self.logarithmic {
                (value.max(1e-9).log10() - floor) / (most.log10() - floor)
            } else {
                value / most
            };
            (share * room).clamp(1.0, room)
        };
        let (mut body, mut y) = (String::new(), 58.0);
        for (label, row) in &groups {
            let middle = y + BAR * row.len() as f64 / 2.0 + 4.0;
            let _ = writeln!(body, "{}", text(LEFT - 10.0, middle, "end", "label", label));
            for (system, summary) in ordered(report, row) {
                let (width, colour) = (length(summary.median), colour(report, system));
                let _ = writeln!(
                    body,
                    r#"<rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{:.1}" fill="{colour}"><title>{}</title></rect>"#,
                    BAR - 2.0,
                    escape(&format!(
                        "{system}: {}{}, spread {:.0} %",
                        short(summary.median),
                        self.unit,
                        summary.spread * 100.0
                    ))
                );
                let noisy = if summary.too_noisy().is_empty() { "" } else { "~" };
                let number = format!("{noisy}{}{}", short(summary.median), self.unit);
                let _ = writeln!(body, "{}", text(LEFT + width + 5.0, y + BAR - 4.5, "start", "number", &number));
                y += BAR;
            }
            y += 14.0;
        }
        let systems: Vec<&str> = report.systems_in(&groups.iter().map(|(_, row)| *row).collect::<Vec<_>>());
        Some(frame(self.title, &systems, report, y + 22.0, &body))
    }
}

impl Report {
    fn systems_in(&self, rows: &[&BTreeMap<String, super::sample::Summary>]) -> Vec<&str> {
        let systems = self.systems();
        let names = systems.iter().filter(|system| rows.iter().any(|row| row.contains_key(*system)));
        let names: Vec<&String> = names.collect();
        let mut known: Vec<&str> = Vec::new();
        for sample in &self.samples {
            if names.iter().any(|name| **name == sample.system) && !known.contains(&sample.system.as_str()) {
                known.push(&sample.system);
            }
        }
        known.sort_by_key(|name| names.iter().position(|other| other == name));
        known
    }
}

/// A write beside ever more records: both axes logarithmic, so "flat" is a line that does not rise.
fn growth(rows: &Rows, report: &Report) -> Option<String> {
    let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for ((workload, figure), row) in rows {
        let Some(size) = workload.strip_prefix("growth-").and_then(|size| size.parse::<f64>().ok()) else { continue };
        if *figure == Figure::P50Ms {
            for (system, summary) in row {
                lines.entry(system).or_default().push((size, summary.median));
            }
        }
    }
    let points = || lines.values().flatten();
    let (right, top) = points().fold((0.0, 0.0), |(x, y): (f64, f64), point| (x.max(point.0), y.max(point.1)));
    if right <= 0.0 || top <= 0.0 {
        return None;
    }
    let (left, bottom) = points().fold((right, top), |(x, y): (f64, f64), point| (x.min(point.0), y.min(point.1)));
    let (height, origin) = (220.0, 280.0);
    let decades =
        |low: f64, high: f64| (low.max(1e-6).log10().floor(), high.log10().ceil().max(low.log10().floor() + 1.0));
    let ((x0, x1), (y0, y1)) = (decades(left, right), decades(bottom, top));
    let at_x = |size: f64| LEFT - 90.0 + (size.log10() - x0) / (x1 - x0) * (WIDTH - LEFT);
    let at_y = |ms: f64| origin - (ms.max(1e-6).log10() - y0) / (y1 - y0) * height;
    let mut body = String::new();
    let mut exponent = y0;
    while exponent <= y1 {
        let (y, value) = (at_y(10_f64.powf(exponent)), 10_f64.powf(exponent));
        let _ = writeln!(body, r#"<line x1="80" y1="{y:.1}" x2="{:.1}" y2="{y:.1}" class="grid"/>"#, WIDTH - 10.0);
        let _ = writeln!(body, "{}", text(74.0, y + 4.0, "end", "label", &format!("{} ms", short(value))));
        exponent += 1.0;
    }
    let mut exponent = x0;
    while exponent <= x1 {
        let name = format!("{:.0}", 10_f64.powf(exponent));
        let _ = writeln!(body, "{}", text(at_x(10_f64.powf(exponent)), origin + 18.0, "middle", "label", &name));
        exponent += 1.0;
    }
    for (system, points) in &mut lines {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y))).collect();
        let colour = colour(report, system);
        let _ = writeln!(
            body,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2.5"/>"#,
            path.join(" ")
        );
        for point in &path {
            if let Some((x, y)) = point.split_once(',') {
                let _ = writeln!(body, r#"<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>"#);
            }
        }
    }
    let systems = report.systems();
    let systems: Vec<&str> = systems.iter().map(String::as_str).filter(|system| lines.contains_key(system)).collect();
    let title = "A durable write by one client, p50, beside so many records (flat is good; logarithmic)";
    Some(frame(title, &systems, report, origin + 52.0, &body))
}

fn ordered<'a, T>(report: &Report, row: &'a BTreeMap<String, T>) -> Vec<(&'a str, &'a T)> {
    let systems = report.systems();
    let mut row: Vec<(&str, &T)> = row.iter().map(|(system, value)| (system.as_str(), value)).collect();
    row.sort_by_key(|(system, _)| systems.iter().position(|other| other == system));
    row
}

fn colour(report: &Report, system: &str) -> &'static str {
    if system == OURS {
        return COLOURS[0];
    }
    let at = report.systems().iter().filter(|name| *name != OURS).position(|name| name == system).unwrap_or(0);
    COLOURS[1 + at % (COLOURS.len() - 1)]
}

fn frame(title: &str, systems: &[&str], report: &Report, height: f64, body: &str) -> String {
    let mut legend = String::new();
    let mut x = 14.0;
    for system in systems {
        let _ = writeln!(legend, r#"<rect x="{x}" y="34" width="11" height="11" fill="{}"/>"#, colour(report, system));
        let _ = writeln!(legend, "{}", text(x + 15.0, 43.5, "start", "label", system));
        x += 32.0 + 6.6 * system.chars().count() as f64;
    }
    let foot =
        text(14.0, height - 8.0, "start", "foot", &format!("{}; {}; 3 nodes on it", report.machine, report.preset));
    let style = "text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:14px}\
                 .number,.foot{font-size:11px;fill:#57606a}.grid{stroke:#d0d7de}";
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" role=\"img\">\n<style>{style}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}\n{legend}{body}{foot}\n</svg>\n",
        text(14.0, 20.0, "start", "title", title)
    )
}

fn text(x: f64, y: f64, anchor: &str, class: &str, what: &str) -> String {
    format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{}</text>"#, escape(what))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::sample::Sample, *};

    fn report() -> Report {
        let mut samples = Vec::new();
        let mut add = |workload: &str, system: &str, figure, value| {
            let (workload, system) = (workload.to_owned(), system.to_owned());
            samples.push(Sample {
                workload,
                system,
                figure,
                round: 0,
                value,
                steal: 0.0,
                others: 0.0,
                remark: "".into(),
            });
        };
        for (system, factor) in [(OURS, 1.0), ("etcd", 0.4), ("a & b < c", 0.001)] {
            add("writes-1", system, Figure::PerSecond, 900.0 * factor);
            add("writes-64", system, Figure::PerSecond, 9_000.0 * factor);
            add("failover-kill", system, Figure::Ms, 50.0 / factor);
            add("growth-1000", system, Figure::P50Ms, 2.0);
            add("growth-1000000", system, Figure::P50Ms, 2.0 / factor);
        }
        let words = |word: &str| word.to_owned();
        Report {
            version: 1,
            versions: BTreeMap::new(),
            machine: words("m"),
            began: words("b"),
            preset: words("p"),
            record_bytes: 128,
            samples,
            skipped: Vec::new(),
        }
    }

    #[test]
    fn pictures_are_drawn_of_what_there_is_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = draw(&report(), folder.path()).unwrap();
        files.sort();
        let names: Vec<&str> = files.iter().filter_map(|file| file.rsplit('/').next()).collect();
        assert_eq!(names, ["failover.svg", "growth.svg", "writes.svg"]);
        for file in files {
            let svg = std::fs::read_to_string(file).unwrap();
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
            assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
            assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("a & b"), "{svg}");
        }
    }

    #[test]
    fn no_two_systems_of_a_run_have_one_colour() {
        use super::super::{election::ELECTORS, system::Kind};
        let mut report = report();
        let one = report.samples.swap_remove(0);
        let systems = Kind::ALL.map(Kind::name).into_iter().chain(ELECTORS);
        report.samples = systems.map(|system| Sample { system: system.to_owned(), ..one.clone() }).collect();
        let systems = report.systems();
        let mut colours: Vec<&str> = systems.iter().map(|system| colour(&report, system)).collect();
        colours.sort_unstable();
        colours.dedup();
        assert_eq!(colours.len(), systems.len(), "{systems:?}");
    }

    #[test]
    fn the_longest_bar_belongs_to_the_largest_value() {
        let report = report();
        let svg = BARS[0].draw(&report.rows(), &report).unwrap();
        let widths: Vec<f64> = svg
            .split("<rect x=\"170\"")
            .skip(1)
            .filter_map(|rect| rect.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        // 1 client: ours, the other two by name; then 64 clients.
        assert_eq!(widths.len(), 6, "{svg}");
        assert!(widths[3] > widths[0] && widths[3] > widths[5], "{widths:?}");
    }
}
