//! A timer on CLOCK_BOOTTIME, the clock of role.json: it also counts while the machine sleeps. tokio's timers do not.

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// One alarm.
pub(super) struct Alarm {
    /// No pipe, but to tokio a timer is the same: a descriptor that becomes readable, and is read. (`AsyncFd` is `unsafe`.)
    timer: Receiver,
}

impl Alarm {
    /// One that is not set.
    pub(super) fn new() -> io::Result<Alarm> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Alarm { timer: Receiver::from_file_unchecked(File::from(timer))? })
    }

    /// Sets it to a moment since the machine's start, or to never.
    pub(super) fn set(&self, at: Option<Duration>) -> io::Result<()> {
        // Zero would mean never.
        let at = at.map_or(Duration::ZERO, |at| at.max(Duration::from_nanos(1)));
        let value = Timespec { tv_sec: at.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: at.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }

    /// Waits for it. It may be dropped and called again.
    pub(super) async fn rings(&self) -> io::Result<()> {
        loop {
            self.timer.readable().await?;
            match self.timer.try_read(&mut [0; 8]) {
                Ok(_) => return Ok(()),
                // Set anew meanwhile.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::exec::place::now;

    #[tokio::test]
    async fn it_rings_at_its_moment_and_not_before_and_can_be_set_again() {
        let alarm = Alarm::new().unwrap();
        alarm.set(Some(now() + Duration::from_secs(3600))).unwrap();
        for moment in [Duration::ZERO, now(), now() + Duration::from_millis(50)] {
            alarm.set(Some(moment)).unwrap();
            tokio::time::timeout(Duration::from_secs(20), alarm.rings()).await.expect("it rang").unwrap();
            assert!(now() >= moment);
        }
        alarm.set(Some(now())).unwrap();
        alarm.set(None).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), alarm.rings()).await.is_err(), "it is not set");
    }
}
