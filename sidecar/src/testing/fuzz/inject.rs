//! Manifests for `sidecar inject`.

use clap::Parser as _;

use crate::args::{Args, Command};

/// The first line has the flags of `inject`; the rest is the YAML. What comes out comes out unchanged when it goes in again;
/// what is refused is refused with a reason.
pub fn inject(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (flags, stream) = text.split_once('\n').unwrap_or((text, ""));
    let words = ["sidecar", "inject"].into_iter().chain(flags.split_whitespace());
    let Ok(args) = Args::try_parse_from(words) else { return };
    let Some(Command::Inject(own)) = args.command.clone() else { return };
    let Ok(injection) = args.injection(&own) else { return };
    let output = match crate::inject::inject(stream, &injection) {
        Ok(output) => output,
        Err(refusal) => return assert!(!refusal.to_string().trim().is_empty(), "a refusal without a reason"),
    };
    assert!(output.contains("leasehold.dev/injected"), "what was injected has no mark:\n{output}");
    let again = crate::inject::inject(&output, &injection).map_err(|refusal| refusal.to_string());
    assert_eq!(again.as_deref(), Ok(output.as_str()), "its own output does not come out as it is");
}
