//! A timer among a worker's sockets, which ends a wait for them that has no timeout of its own.
//!
//! A timeout would program the hardware's timer for each wait, and that costs more than the wait saves. The bell is set
//! once for many waits, and to a time after most of them end, so that it hardly ever rings.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use mio::{Interest, Registry, Token, unix::SourceFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// The event of the bell. No socket has this number.
const TOKEN: Token = Token(usize::MAX);

#[derive(Debug)]
pub(in crate::net) struct Bell(OwnedFd);

impl Bell {
    /// Makes a bell and registers it with `registry`. When the bell rings, a wait for the sockets of `registry` ends
    /// and finds no socket ready.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(in crate::net) fn hang(registry: &Registry) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), TOKEN, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Makes the bell ring once, after `wait`, and forgets the time that was set before.
    ///
    /// # Errors
    /// Those of timerfd_settime(2). None is to be expected.
    pub(in crate::net) fn ring_after(&self, wait: Duration) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let wait = wait.max(Duration::from_nanos(1)).try_into().map_err(io::Error::other)?;
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: never, it_value: wait })?;
        Ok(())
    }
}
