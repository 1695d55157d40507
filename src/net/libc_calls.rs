//! Calls that no safe crate offers. This is the only room with `unsafe` in it.
#![allow(unsafe_code)]

#[cfg(target_env = "gnu")]
use std::ffi::CStr;
use std::{
    mem,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use crate::ws::progress::Progress;

/// Makes the allocator give free memory back to the system. glibc's malloc gives back whole free pages only on this
/// call; other allocators decide for themselves, and for them this does nothing.
pub(super) fn trim() {
    // SAFETY: malloc_trim(3) is thread-safe and touches free memory only.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The version of glibc that runs; `None` with another C library.
pub(crate) fn glibc_version() -> Option<String> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: gnu_get_libc_version(3) returns a string that lives as long as the process and never changes.
        let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
        version.to_str().ok().map(str::to_owned)
    }
    #[cfg(not(target_env = "gnu"))]
    None
}

/// How much the other end of a TCP socket has taken of what was written (`TCP_INFO`, Linux 4.6). Zero if the kernel
/// does not tell.
pub(crate) fn tcp_progress(socket: &impl AsFd) -> Progress {
    tcp_info(socket).map_or_else(Progress::default, |info| Progress {
        acknowledged: info.tcpi_bytes_acked,
        unsent: info.tcpi_notsent_bytes.into(),
    })
}

/// How long ago the last byte came to a TCP socket (`TCP_INFO`), whenever it is read. Exact to some milliseconds. `None`
/// if the kernel does not tell.
pub(crate) fn since_received(socket: &impl AsFd) -> Option<Duration> {
    Some(Duration::from_millis(tcp_info(socket)?.tcpi_last_data_recv.into()))
}

fn tcp_info(socket: &impl AsFd) -> Option<libc::tcp_info> {
    // SAFETY: integers only, for which zeros are a value. A shorter answer of an older kernel leaves the rest zero.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as it is borrowed, and getsockopt(2) writes `length` bytes at most.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(info)
}

/// How much the other end of a Unix socket has read of what was written (`SIOCOUTQ`, which has the number of
/// `TIOCOUTQ`). Nothing waits if the kernel does not tell.
pub(super) fn unix_progress(socket: &impl AsFd) -> Progress {
    Progress::of_queue(unacknowledged(socket))
}

/// The bytes that were written to a socket and that the other end has not acknowledged (TCP), or not read (Unix, with what the
/// kernel adds to each write) (`SIOCOUTQ`). Zero if the kernel does not tell.
pub(super) fn unacknowledged(socket: &impl AsFd) -> u64 {
    let mut queued: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as it is borrowed, and ioctl(2) writes one int.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
    if result == 0 { u64::try_from(queued).unwrap_or(0) } else { 0 }
}
