//! `backup restore`: into the empty volume of a new cluster (`to`), or into a cluster that runs (`into`).

mod api;
mod into;
mod to;

use crate::archive::CommandError;
use crate::args::RestoreArgs;
use std::io::Write;

/// Does it, and says what was done.
///
/// # Errors
/// Anything that keeps the data from being restored whole.
pub async fn run(args: RestoreArgs, out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
    let line = match (&args.to, &args.into) {
        (Some(data), _) => to::run(&args, data).await?,
        (None, Some(url)) => into::run(&args, url).await?,
        (None, None) => return Err(CommandError::Said("name a target: --to or --into".to_owned())),
    };
    writeln!(out, "{line}").map_err(CommandError::io("cannot print"))
}
