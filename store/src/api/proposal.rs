//! One try of a write: through the log, and counted.

use super::context::Context;
use super::problem::{Code, Problem};
use super::refusals::{Path, needs_later_format, not_ready, not_written};
use crate::handle::WriteError;
use crate::telemetry::WriteResult;
use leasehold_documents::{Applied, Command};
use leasehold_replication::RECORD_BODY_BYTES_MAX;
use std::time::Duration;

/// Room that an entry needs beside its command.
const ENTRY_ROOM_BYTES: usize = 1024;

/// Through the log, counted: one try.
pub(super) async fn write(context: &Context, path: Path<'_>, command: &Command<'_>) -> Result<Applied, Problem> {
    write_within(context, path, command, context.config.write_timeout).await
}

/// As [`write()`], in this time.
pub(super) async fn write_within(
    context: &Context,
    path: Path<'_>,
    command: &Command<'_>,
    timeout: Duration,
) -> Result<Applied, Problem> {
    // Without a volume nobody reads requests from the queue.
    if let Some(why) = context.handle.starting() {
        context.metrics.write_ended(WriteResult::refused);
        return Err(not_ready(format!("the replica is starting: {why}")));
    }
    // What is applied is in force, even if the status does not say so yet.
    let in_force = context.handle.format().max(context.handle.documents().format());
    if command.needs() > in_force {
        context.metrics.write_ended(WriteResult::refused);
        return Err(needs_later_format(context, command.needs(), path));
    }
    let command = command.encode(in_force);
    let limit = RECORD_BODY_BYTES_MAX - ENTRY_ROOM_BYTES;
    if command.len() > limit {
        let what = format!(
            "the request makes an entry of {} bytes, and at most {limit} fit; send less at once",
            command.len()
        );
        return Err(Problem::new(Code::BodyTooLarge, what).with("limitBytes", limit));
    }
    let result = context.handle.write(command, timeout).await;
    context.metrics.write_ended(match &result {
        Ok(written) if written.answer.outcome.is_done() => WriteResult::committed,
        Ok(_) => WriteResult::declined,
        Err(WriteError::Unknown) => WriteResult::unknown,
        Err(WriteError::Refused(_) | WriteError::Overwritten | WriteError::Closed) => WriteResult::refused,
    });
    result.map(|written| written.answer).map_err(|error| not_written(context, error, path))
}
