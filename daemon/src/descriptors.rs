//! The limit of this process on open files and connections.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Used where the system sets no bound, or an unreachable one.
const ENOUGH: u64 = 1 << 20;

/// Raises the soft limit of open descriptors to the hard one, and returns it (at most 2^20). Many systems start with a soft
/// limit of 1,024 for the sake of programs that use select(2); this one does not.
///
/// # Errors
/// The system refused.
pub fn raise() -> io::Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    let raised = getrlimit(Resource::Nofile).current.unwrap_or(ENOUGH).min(ENOUGH);
    Ok(usize::try_from(raised).unwrap_or(usize::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        let lower = before.current.unwrap_or(ENOUGH).min(512);
        setrlimit(Resource::Nofile, Rlimit { current: Some(lower), maximum: before.maximum }).unwrap();
        let raised = raise().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
        assert_eq!(raised as u64, before.maximum.unwrap_or(ENOUGH).min(ENOUGH));
    }
}
