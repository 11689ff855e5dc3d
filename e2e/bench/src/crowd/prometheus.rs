//! Numbers in the text of a `/metrics` page.

/// A page, as it was at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Page(Vec<Line>);

#[derive(Clone, Debug)]
struct Line {
    name: String,
    labels: String,
    value: f64,
}

impl Page {
    /// Comments, and what is no number, are left out.
    pub(super) fn read(text: &str) -> Page {
        Page(text.lines().filter_map(line).collect())
    }

    /// The sum over all lines of that name with all those labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.lines(name, labels).map(|line| line.value).sum()
    }

    fn lines(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Line> {
        let has = move |line: &&Line| labels.iter().all(|(label, value)| line.label(label) == *value);
        self.0.iter().filter(move |line| line.name == name).filter(has)
    }
}

impl Line {
    /// No value that we ask for has a quote in it.
    fn label(&self, name: &str) -> &str {
        let begin = format!("{name}=\"");
        let found = self.labels.match_indices(&begin).find(|(at, _)| *at == 0 || self.labels[..*at].ends_with(','));
        found.and_then(|(at, _)| self.labels[at + begin.len()..].split('"').next()).unwrap_or_default()
    }
}

fn line(text: &str) -> Option<Line> {
    if text.starts_with('#') {
        return None;
    }
    let (series, value) = text.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').to_owned();
    Some(Line { name: name.to_owned(), labels, value: value.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_summed_by_name_and_labels() {
        let page = Page::read(
            "# TYPE requests counter\nrequests{code=\"200\",subverb=\"x\",verb=\"PUT\"} 3\nrequests{code=\"409\",verb=\"PUT\"} 1\n\
             requests{code=\"200\",verb=\"GET\"} 1.5e+01\nbytes 7\nrequests_more{code=\"200\"} 100\n",
        );
        assert_eq!(page.sum("requests", &[]), 19.0);
        assert_eq!(page.sum("requests", &[("verb", "PUT")]), 4.0);
        assert_eq!(page.sum("requests", &[("verb", "x")]), 0.0);
        assert_eq!(page.sum("bytes", &[]), 7.0);
    }
}
