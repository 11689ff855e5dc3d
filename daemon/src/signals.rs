//! SIGTERM and SIGINT: the first asks the program to end gracefully; the second ends it at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first SIGTERM or SIGINT cancels. From the second on, `again` is called for each. Must be called within
/// a runtime.
///
/// # Errors
/// The signals cannot be received.
pub fn stop_token(again: impl Fn() + Send + 'static) -> io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stopped.is_cancelled() {
                again();
            }
            stopped.cancel();
        }
    });
    Ok(stop)
}
