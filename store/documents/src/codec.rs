//! The format of a write in the replicated log.
//!
//! ```text
//!   command = version u8 (the format in force: 1, or 2 and higher) | as that version has it (`v1`, `v2`)
//! ```
//!
//! Decoding is strict, so that every replica reads the same command or refuses the same bytes. A new kind or condition
//! needs a higher format number in the voters entry before a leader may write it. So a version, kind or condition that is
//! not known ends the process \[C1\]; anything else that is wrong with a command is an outcome, the same on every replica.

mod bytes;
mod v1;
mod v2;

use crate::command::{Action, Command, CommandError, Key, On, Operation, Seen, UnknownCommand, Work};
use crate::definition::PERSONS;
use crate::format::{COLLECTIONS, FORMAT, FORMAT_MIN, MADE_UP, MADE_UP_KEY};
use crate::id::IdKind;
use ::bytes::{BufMut, Bytes, BytesMut};

/// The version is the format in force where the command was written.
const VERSION_MIN: u8 = FORMAT_MIN as u8;
const VERSION_MAX: u8 = FORMAT as u8;

impl<'a> Command<'a> {
    /// The lowest format whose builds know all of it: before that is in force no leader may write it.
    pub fn needs(&self) -> u32 {
        let is_there = cfg!(any(feature = "made-up-format", feature = "testing", test));
        let is_made_up = |key: &Key<'_>| is_there && key.name.starts_with(MADE_UP_KEY);
        if self.key.as_ref().is_some_and(is_made_up) {
            return MADE_UP;
        }
        let is_old = match &self.work {
            Work::One(on, operation) => on.is_old() && operation.is_old(),
            Work::Batch(on, operations) => on.is_old() && operations.iter().all(Operation::is_old),
            Work::Transaction(..)
            | Work::Refuse { .. }
            | Work::Define(_)
            | Work::Drop { .. }
            | Work::GiveUp { .. }
            | Work::Advance { .. }
            | Work::DoesNotFit { .. }
            | Work::Expire { .. }
            | Work::PauseExpiry { .. }
            | Work::NoteFile { .. } => false,
        };
        if is_old { FORMAT_MIN } else { COLLECTIONS }
    }

    /// The bytes that go into the log where this format is in force.
    ///
    /// # Panics
    /// When the name of the collection or a key is longer than 255 bytes, a batch has too many operations, or the format has
    /// no such command: the API lets none of that in.
    pub fn encode(&self, format: u32) -> Bytes {
        let mut to = BytesMut::with_capacity(96 + self.room());
        // None is in force that this build does not read.
        let version = u8::try_from(format).unwrap_or(VERSION_MAX).clamp(VERSION_MIN, VERSION_MAX);
        to.put_u8(version);
        match u32::from(version) {
            ..COLLECTIONS => v1::encode(self, &mut to),
            COLLECTIONS.. => v2::encode(self, &mut to),
        }
        to.freeze()
    }

    /// About how long its operations are.
    fn room(&self) -> usize {
        match &self.work {
            Work::One(_, operation) => operation.action.text().len(),
            Work::Batch(_, operations) => operations.iter().map(|one| 40 + one.action.text().len()).sum(),
            Work::Transaction(_, operations) => operations.iter().map(|(_, one)| 60 + one.action.text().len()).sum(),
            Work::Refuse { problem, .. } => problem.len(),
            Work::Define(define) => define.definition.len(),
            Work::DoesNotFit { pointer, rule, .. } => pointer.len() + rule.len(),
            Work::Drop { .. }
            | Work::GiveUp { .. }
            | Work::Advance { .. }
            | Work::Expire { .. }
            | Work::PauseExpiry { .. }
            | Work::NoteFile { .. } => 0,
        }
    }

    /// Does this build know all that the command consists of? Without a look at its content.
    ///
    /// # Errors
    /// [`UnknownCommand`]: exactly where [`Command::decode`] gives that.
    pub fn check_known(mut bytes: &[u8]) -> Result<(), UnknownCommand> {
        let from = &mut bytes;
        let found = take_version(from).and_then(|version| match version {
            ..COLLECTIONS => v1::walk(from),
            COLLECTIONS.. => v2::walk(from).map(|_| ()),
        });
        match found {
            Err(CommandError::Unknown(unknown)) => Err(unknown),
            // Content is for whoever applies it.
            Err(CommandError::Short | CommandError::Content(_) | CommandError::TooLarge) | Ok(()) => Ok(()),
        }
    }

    /// Reads what [`Command::encode`] wrote.
    ///
    /// # Errors
    /// [`CommandError`] for anything else. The answer depends on the bytes alone, so it is the same on every replica.
    pub fn decode(mut bytes: &'a [u8]) -> Result<Command<'a>, CommandError> {
        let from = &mut bytes;
        match take_version(from)? {
            ..COLLECTIONS => v1::decode(from),
            COLLECTIONS.. => v2::decode(from),
        }
    }
}

/// As format 1 has them.
impl On<'_> {
    fn is_old(&self) -> bool {
        self.collection == PERSONS && self.epoch.is_none()
    }
}

impl Operation<'_> {
    fn is_old(&self) -> bool {
        let is_old_action = match self.action {
            Action::Create { .. } | Action::Put { .. } | Action::Delete | Action::Patch { .. } => true,
            Action::Check => false,
        };
        is_old_action && self.seen == Seen::Any && self.id.kind() == IdKind::Uuid
    }
}

/// The format that the first byte names.
fn take_version(from: &mut &[u8]) -> Result<u32, CommandError> {
    match bytes::take_u8(from)? {
        version @ VERSION_MIN..=VERSION_MAX => Ok(version.into()),
        version => Err(UnknownCommand::Version(version).into()),
    }
}

/// The format of the command, by its first byte alone.
pub(crate) fn version(command: &[u8]) -> u32 {
    command.first().map_or(0, |version| u32::from(*version))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
