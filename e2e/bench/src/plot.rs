//! SVG pictures of a report, as the README shows them: no script, no font of their own, a white background.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context;
use plotters::{
    coord::{
        Shift,
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
    },
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{
    report::{OURS, Report, Rows, short},
    sample::{Figure, Summary},
};

/// One group of bars: its label, the workload and the figure.
type Group = (&'static str, &'static str, Figure);

/// What is drawn on.
type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

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
const COLOURS: [RGBColor; 8] = [
    RGBColor(0x0b, 0x6b, 0xcb),
    RGBColor(0xe0, 0x8a, 0x00),
    RGBColor(0xc2, 0x35, 0x2b),
    RGBColor(0x8a, 0x5f, 0xb5),
    RGBColor(0x7a, 0x7f, 0x87),
    RGBColor(0x2b, 0x8a, 0x57),
    RGBColor(0x6b, 0x3e, 0x1d),
    RGBColor(0x23, 0xb5, 0xc9),
];
const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const PALE_INK: RGBColor = RGBColor(0x57, 0x60, 0x6a);
const GRID: RGBColor = RGBColor(0xd0, 0xd7, 0xde);

const WIDTH: u32 = 760;
/// The names of groups stand left of this, in pixels.
const LEFT: u32 = 170;
/// The title and the legend stand above this, the foot below that from the bottom.
const HEAD: u32 = 54;
const FOOT: u32 = 30;
/// The numbers of an axis need this.
const AXIS: u32 = 22;
const BAR: u32 = 15;
/// Between two groups, in bars.
const GAP: f64 = 0.9;

/// Draws what the report has data for. Which files.
///
/// # Errors
/// A file cannot be written.
pub(super) fn draw(report: &Report, folder: &Path) -> anyhow::Result<Vec<String>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (rows, mut files) = (report.rows(), Vec::new());
    let mut pictures: Vec<(&str, Option<String>)> = Vec::new();
    for bars in &BARS {
        pictures.push((bars.file, bars.draw(&rows, report)?));
    }
    pictures.push(("growth.svg", growth(&rows, report)?));
    for (file, picture) in pictures {
        if let Some(picture) = picture {
            let path = folder.join(file);
            std::fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))?;
            files.push(path.display().to_string());
        }
    }
    Ok(files)
}

/// Groups that have data, with what each system did.
type Measured<'a> = Vec<(&'static str, Vec<(&'a str, &'a Summary)>)>;

impl Bars {
    fn draw(&self, rows: &Rows, report: &Report) -> anyhow::Result<Option<String>> {
        let mut groups: Measured<'_> = Vec::new();
        for (label, workload, figure) in self.groups {
            if let Some(row) = rows.get(&((*workload).to_owned(), *figure)) {
                groups.push((label, ordered(report, row)));
            }
        }
        let all = || groups.iter().flat_map(|(_, row)| row);
        let most = all().map(|(_, summary)| summary.high).fold(0.0, f64::max);
        if most <= 0.0 {
            return Ok(None);
        }
        let least = all().map(|(_, summary)| summary.median).filter(|value| *value > 0.0).fold(most, f64::min);
        // The shortest bar of a logarithmic scale starts in the decade below its value: a bar without length says nothing.
        let floor = (least.log10().floor() - 0.3).min(most.log10() - 1.0);
        // Room for the number right of the longest bar.
        let end = if self.logarithmic { most.log10() + (most.log10() - floor) * 0.14 } else { most * 1.12 };
        let mut systems = report.systems();
        systems.retain(|system| all().any(|(name, _)| name == system));
        let slots = all().count() as f64 + groups.len() as f64 * GAP;
        let height = HEAD + (slots * f64::from(BAR)) as u32 + AXIS + FOOT;
        let note = "; thin lines: lowest to highest";
        Frame { title: self.title, systems: &systems, note, height }.draw(report, |canvas| {
            if self.logarithmic {
                let (start, end) = (10_f64.powf(floor), 10_f64.powf(end));
                self.bars(canvas, (start..end).log_scale(), start, slots, &groups, report)
            } else {
                self.bars(canvas, 0.0..end, 0.0, slots, &groups, report)
            }
        })
    }

    /// Horizontal bars: names and numbers are read without turning one's head. A thin line shows the spread.
    fn bars<X>(
        &self,
        canvas: &Canvas<'_>,
        scale: impl AsRangedCoord<CoordDescType = X, Value = f64>,
        start: f64,
        slots: f64,
        groups: &Measured<'_>,
        report: &Report,
    ) -> anyhow::Result<()>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(canvas)
            .x_label_area_size(AXIS)
            .margin_left(LEFT)
            .margin_right(14)
            .build_cartesian_2d(scale, slots..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_labels(8)
            .x_label_formatter(&|value| if *value == 0.0 { "0".to_owned() } else { short(*value) })
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(words(11, PALE_INK))
            .draw()?;
        let mut y = GAP / 2.0;
        for (label, row) in groups {
            let middle = (start, y + row.len() as f64 / 2.0);
            let style = words(12, INK).pos(Pos::new(HPos::Right, VPos::Center));
            chart.plotting_area().draw(&(EmptyElement::at(middle) + Text::new(*label, (-10, 0), style)))?;
            for (system, summary) in row {
                let bar = [(start, y + 0.06), (summary.median.max(start), y + 0.94)];
                chart.plotting_area().draw(&Rectangle::new(bar, colour(report, system).filled()))?;
                let spread = vec![(summary.low.max(start), y + 0.5), (summary.high, y + 0.5)];
                chart.plotting_area().draw(&PathElement::new(spread, INK.mix(0.6)))?;
                let noisy = if summary.too_noisy().is_empty() { "" } else { "~" };
                let number = format!("{noisy}{}{}", short(summary.median), self.unit);
                let style = words(11, PALE_INK).pos(Pos::new(HPos::Left, VPos::Center));
                let after = (summary.high.max(start), y + 0.5);
                chart.plotting_area().draw(&(EmptyElement::at(after) + Text::new(number, (5, 0), style)))?;
                y += 1.0;
            }
            y += GAP;
        }
        Ok(())
    }
}

/// A write beside ever more records: both axes logarithmic, so "flat" is a line that does not rise.
fn growth(rows: &Rows, report: &Report) -> anyhow::Result<Option<String>> {
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
        return Ok(None);
    }
    let (left, bottom) = points().fold((right, top), |(x, y): (f64, f64), point| (x.min(point.0), y.min(point.1)));
    // From decade to decade, and at least one. It starts a little lower: otherwise rounding may hide the first number.
    let decades = |low: f64, high: f64| {
        let first = low.max(1e-6).log10().floor();
        10_f64.powf(first) * 0.999..10_f64.powf(high.log10().ceil().max(first + 1.0))
    };
    let (sizes, times) = (decades(left, right), decades(bottom, top));
    let mut systems = report.systems();
    systems.retain(|system| lines.contains_key(system.as_str()));
    let title = "A durable write by one client, p50, beside so many records (flat is good; logarithmic)";
    Frame { title, systems: &systems, note: "", height: 340 }.draw(report, |canvas| {
        let mut chart = ChartBuilder::on(canvas)
            .x_label_area_size(AXIS)
            .y_label_area_size(62)
            .margin_left(14)
            .margin_right(30)
            .margin_top(6)
            .build_cartesian_2d(sizes.log_scale(), times.log_scale())?;
        chart
            .configure_mesh()
            .x_labels(8)
            .x_label_formatter(&|size| format!("{size:.0}"))
            .y_label_formatter(&|ms| format!("{} ms", short(*ms)))
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(words(12, INK))
            .draw()?;
        for (system, points) in &mut lines {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let colour = colour(report, system);
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, colour.filled())))?;
        }
        Ok(())
    })
}

fn ordered<'a, T>(report: &Report, row: &'a BTreeMap<String, T>) -> Vec<(&'a str, &'a T)> {
    let systems = report.systems();
    let mut row: Vec<(&str, &T)> = row.iter().map(|(system, value)| (system.as_str(), value)).collect();
    row.sort_by_key(|(system, _)| systems.iter().position(|other| other == system));
    row
}

fn colour(report: &Report, system: &str) -> RGBColor {
    if system == OURS {
        return COLOURS[0];
    }
    let at = report.systems().iter().filter(|name| *name != OURS).position(|name| name == system).unwrap_or(0);
    COLOURS[1 + at % (COLOURS.len() - 1)]
}

/// Letters this many pixels high; the library counts a font's size differently.
fn words(pixels: u32, colour: RGBColor) -> TextStyle<'static> {
    ("system-ui, sans-serif", f64::from(pixels) * 1.24).into_font().color(&colour)
}

/// What stands around a picture: title, legend and foot.
struct Frame<'a> {
    title: &'a str,
    systems: &'a [String],
    /// What the foot says after the machine and the run.
    note: &'a str,
    /// Of the whole picture, in pixels.
    height: u32,
}

impl Frame<'_> {
    /// The picture; `body` draws what is between.
    fn draw(
        &self,
        report: &Report,
        body: impl FnOnce(&Canvas<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<String>> {
        let mut svg = String::new();
        {
            let canvas = SVGBackend::with_string(&mut svg, (WIDTH, self.height)).into_drawing_area();
            canvas.fill(&WHITE)?;
            let bold = ("system-ui, sans-serif", 14.0 * 1.24, FontStyle::Bold).into_font().color(&INK);
            canvas.draw_text(self.title, &bold, (14, 8))?;
            let mut x = 14;
            for system in self.systems {
                canvas.draw(&Rectangle::new([(x, 34), (x + 11, 45)], colour(report, system).filled()))?;
                let beside = words(12, INK).pos(Pos::new(HPos::Left, VPos::Center));
                canvas.draw_text(system, &beside, (x + 15, 40))?;
                // No font is at hand to measure with: letters are 6.6 pixels wide, more or less.
                x += 32 + i32::try_from(system.chars().count() * 33 / 5).unwrap_or(0);
            }
            let foot = format!("{}; {}; 3 nodes on it{}", report.machine, report.preset, self.note);
            let at = i32::try_from(self.height - 18).unwrap_or(0);
            canvas.draw_text(&foot, &words(11, PALE_INK), (14, at))?;
            body(&canvas.margin(HEAD, FOOT, 0, 0))?;
            canvas.present()?;
        }
        Ok(Some(svg))
    }
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
        let mut colours: Vec<_> = systems.iter().map(|system| colour(&report, system).rgb()).collect();
        colours.sort_unstable();
        colours.dedup();
        assert_eq!(colours.len(), systems.len(), "{systems:?}");
    }

    #[test]
    fn the_longest_bar_belongs_to_the_largest_value() {
        let report = report();
        let svg = BARS[0].draw(&report.rows(), &report).unwrap().unwrap();
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
