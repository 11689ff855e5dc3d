//! Holds docs/flags.md to the flags that a program defines.

use std::collections::BTreeSet;

use clap::{Arg, Command};

/// Flag, variable (of a command's flag: the command), default: as a row of docs/flags.md begins.
type Row = [String; 3];

/// Every flag of the program, and of its commands, stands in its section with variable and default; and no other does.
///
/// # Panics
/// The section is not there, lacks a flag, or has one that is none.
pub fn stand_in_the_reference(program: &str, command: &Command) {
    let of_commands = command.get_subcommands().flat_map(|inner| flags(inner, Some(inner.get_name())));
    let defined: BTreeSet<Row> = flags(command, None).into_iter().chain(of_commands).collect();
    let documented = documented(program);
    let missing: Vec<_> = defined.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&defined).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not in docs/flags.md: {missing:?}; no flags: {unknown:?}");
}

fn documented(program: &str) -> BTreeSet<Row> {
    let page = include_str!("../../docs/flags.md");
    let mut sections = page.split("\n## ");
    let section = sections.find(|section| section.starts_with(&format!("`{program}`"))).expect("it has a section");
    // The first word in backticks of each cell.
    let word = |cell: &str| cell.split('`').nth(1).unwrap_or_default().to_owned();
    let row = |line: &str| {
        let mut cells = line.split('|').skip(1).map(word);
        std::array::from_fn(|_| cells.next().expect("three cells"))
    };
    section.lines().filter(|line| line.starts_with("| `--")).map(row).collect()
}

fn flags(command: &Command, of: Option<&str>) -> Vec<Row> {
    let row = |arg: &Arg| {
        let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
        let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let flag = format!("--{}", arg.get_long()?);
        Some([flag, of.map(str::to_owned).or(variable).unwrap_or_default(), values.join(",")])
    };
    command.get_arguments().filter_map(row).collect()
}
