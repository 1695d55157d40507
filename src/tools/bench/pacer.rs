//! Waits for a moment to the microsecond. The runtime's own timers have a grain of one millisecond, which would be the
//! greater part of what is measured.

use std::{io, time::Instant};

#[cfg(target_os = "linux")]
pub(super) struct Pacer {
    timer: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Pacer {
    /// A timer of this runtime.
    ///
    /// # Errors
    /// No file descriptor is free.
    pub(super) fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // Its replacement is unsafe for the sake of types whose descriptor changes; that of an OwnedFd never does.
        #[allow(deprecated)]
        Ok(Self { timer: tokio::io::unix::AsyncFd::new(timer)? })
    }

    /// Returns at this moment, or at once if it has passed.
    ///
    /// # Errors
    /// As the kernel has them.
    pub(super) async fn until(&mut self, moment: Instant) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let value = Timespec::try_from(left).map_err(io::Error::other)?;
            let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            // Setting it anew takes back what it has told, so it need not be read.
            self.timer.readable().await?.clear_ready();
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) struct Pacer;

#[cfg(not(target_os = "linux"))]
impl Pacer {
    /// # Errors
    /// None.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Returns up to a millisecond after this moment.
    ///
    /// # Errors
    /// None.
    pub(super) async fn until(&mut self, moment: Instant) -> io::Result<()> {
        tokio::time::sleep_until(moment.into()).await;
        Ok(())
    }
}
