//! What happened on a stage: a table with a row for each act, and the first violation.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The result of a trace by hand.
#[derive(Clone, Debug)]
pub struct Played {
    /// The names of the columns, then a row for each act, up to the first violation.
    pub rows: Vec<Vec<String>>,
    /// The violation.
    pub wrong: Option<String>,
}

impl Played {
    /// The table, in columns, without the rows before that one; the first act has row 1.
    pub fn table(&self, from: usize) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut table = String::new();
        for row in self.rows.iter().take(1).chain(self.rows.iter().skip(from)) {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            table += cells.collect::<Vec<_>>().join(" | ").trim_end();
            table.push('\n');
        }
        table
    }

    /// The first row that differs, or the last one.
    pub fn first_difference(&self, other: &Played) -> usize {
        let differs = self.rows.iter().zip(&other.rows).position(|(one, other)| one != other);
        differs.unwrap_or(self.rows.len() - 1)
    }
}

/// A stage whose trace is over.
pub trait Staged {
    /// What happened on it.
    fn played(self) -> Played;
}

/// The table while it is written. An act may consist of others; then it is one row.
#[derive(Debug)]
pub(super) struct Sheet {
    rows: Vec<Vec<String>>,
    depth: u32,
    wrong: Option<String>,
    /// There was a violation before the present act.
    was_wrong: bool,
}

impl Sheet {
    /// A table whose columns have these names, after the acts'.
    pub(super) fn new(columns: impl Iterator<Item = String>) -> Sheet {
        let rows = vec![std::iter::once(String::new()).chain(columns).collect()];
        Sheet { rows, depth: 0, wrong: None, was_wrong: false }
    }

    /// A violation: nothing more happens.
    pub(super) fn is_over(&self) -> bool {
        self.wrong.is_some()
    }

    /// Lets something happen, unless there was a violation before. A panic of a core is one, too.
    pub(super) fn happen(&mut self, what: impl FnOnce() -> Result<(), String>) {
        if self.wrong.is_none() {
            let happened = catch_unwind(AssertUnwindSafe(what));
            self.wrong = happened.unwrap_or_else(|_| Err("a core panicked".to_owned())).err();
        }
    }

    /// An act begins.
    pub(super) fn begin(&mut self) {
        if self.depth == 0 {
            self.was_wrong = self.is_over();
        }
        self.depth += 1;
    }

    /// An act ends. True: it needs a row.
    pub(super) fn end(&mut self) -> bool {
        self.depth -= 1;
        self.depth == 0 && !self.was_wrong
    }

    /// The state after an act.
    pub(super) fn row(&mut self, act: String, cells: impl Iterator<Item = String>) {
        self.rows.push(std::iter::once(act).chain(cells).collect());
    }

    /// The trace is over.
    pub(super) fn played(self) -> Played {
        Played { rows: self.rows, wrong: self.wrong }
    }
}
