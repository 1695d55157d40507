//! Waits for a moment, exact to the microsecond. The timers of the runtime are exact only to one millisecond, which would be
//! most of what the tool measures.

use std::{io, time::Instant};

#[cfg(target_os = "linux")]
pub(super) struct Pacer {
    timer: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Pacer {
    /// Makes a timer in this runtime.
    ///
    /// # Errors
    /// No file descriptor is free.
    pub(super) fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // The replacement is unsafe, because of types whose descriptor can change. The descriptor of an OwnedFd never
        // changes.
        #[allow(deprecated)]
        Ok(Self { timer: tokio::io::unix::AsyncFd::new(timer)? })
    }

    /// Returns at this moment, or at once if the moment has passed.
    ///
    /// # Errors
    /// The kernel refuses the timer.
    pub(super) async fn until(&self, moment: Instant) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let value = Timespec::try_from(left).map_err(io::Error::other)?;
            let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            // Setting the timer again discards its expirations, so they need not be read.
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
    pub(super) async fn until(&self, moment: Instant) -> io::Result<()> {
        tokio::time::sleep_until(moment.into()).await;
        Ok(())
    }
}
