//! A timer among a worker's sockets. It ends a wait for them that has no timeout of its own.
//!
//! A timeout would program the hardware's timer for each wait, which costs more than such a wait saves. The bell is set for many
//! waits at once, and later than they mostly end, so that it hardly ever rings.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use mio::{Interest, Registry, Token, unix::SourceFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// No socket has this number.
const TOKEN: Token = Token(usize::MAX);

#[derive(Debug)]
pub(super) struct Bell(OwnedFd);

impl Bell {
    /// Among the sockets of `registry`. Whoever waits for those wakes up when it rings, and finds no socket ready.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(super) fn hang(registry: &Registry) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), TOKEN, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Rings after `wait`, once, and not when it was to before.
    ///
    /// # Errors
    /// None that is known.
    pub(super) fn ring_after(&self, wait: Duration) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let wait = wait.max(Duration::from_nanos(1)).try_into().map_err(io::Error::other)?;
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: never, it_value: wait })?;
        Ok(())
    }
}
