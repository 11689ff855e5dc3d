//! Documents and golden files: examples, each below a line that names its file, and members of JSON.

use std::collections::BTreeSet;

const FENCE: &str = "```text\n";
const END: &str = "```";

/// The document with `file` as the content of the block below `<!-- golden: path -->`.
pub(super) fn with_block(document: &str, path: &str, file: &str) -> Result<String, &'static str> {
    let mark = format!("<!-- golden: {path} -->\n");
    let (before, rest) = document.split_once(&mark).ok_or("no line of the document names it")?;
    let rest = rest.strip_prefix(FENCE).ok_or("no block follows the line that names it")?;
    let (_, after) = rest.split_once(END).ok_or("its block has no end")?;
    Ok(format!("{before}{mark}{FENCE}{file}{END}{after}"))
}

/// The names of all members, however deep, of JSON without escapes in its strings.
pub(super) fn members_of(json: &str) -> BTreeSet<&str> {
    let pieces: Vec<&str> = json.split('"').collect();
    let strings = pieces.chunks_exact(2).map(|pair| pair[1]);
    let after = pieces.iter().skip(2).step_by(2);
    strings.zip(after).filter(|(_, after)| after.trim_start().starts_with(':')).map(|(name, _)| name).collect()
}
