//! Logs, on standard error, and the text of errors in them.

use std::error::Error;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is invalid.
    #[error("--log {filter:?} is not a valid filter: write a level, or NAME=LEVEL, separated by commas")]
    Filter {
        /// The given filter.
        filter: String,
        /// The reason.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// They are set up already.
    #[error("logs are set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Sends logs to standard error. `filter` as in `RUST_LOG`; `always`: more directives, which the user does not see.
///
/// # Errors
/// [`LogError`].
pub fn start(format: LogFormat, filter: &str, always: &[&str]) -> Result<(), LogError> {
    let directives = [always, &[filter]].concat().join(",");
    let filter =
        EnvFilter::try_new(directives).map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    // A line that cannot be written (a full disk, a reader that is gone) is lost: reporting that would panic in the same
    // way.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(LogError::Twice)
}

/// An error and its causes, in one line for a person. Many errors repeat the words of their cause: those are not said
/// again.
pub fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| (*cause).source()) {
        let cause = cause.to_string();
        if !words.contains(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("/data: {0}")]
    struct Unreadable(#[source] std::io::Error);

    #[test]
    fn what_the_system_said_is_said_once() {
        let source = std::io::Error::from_raw_os_error(2);
        let said = source.to_string();
        let error = Unreadable(source);
        assert_eq!(in_words(&error), format!("/data: {said}"));
        // A cause that its error does not name is added.
        let error = anyhow::Error::from(error).context("the volume");
        assert_eq!(in_words(error.as_ref()), format!("the volume: /data: {said}"));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_an_error_that_names_it() {
        let error = start(LogFormat::Text, "info,=nonsense=", &["kube_client=off"]).unwrap_err();
        assert!(error.to_string().contains("\"info,=nonsense=\""), "{error}");
    }
}
