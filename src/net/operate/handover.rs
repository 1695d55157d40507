//! Hands the listening sockets over to a successor, through a Unix socket (`handover` in the file).
//!
//! The sockets themselves go from process to process, so that no connection is refused and none that waits in the
//! kernel is lost. `SO_REUSEPORT` would lose some: each process has a queue of its own, which is reset when the process
//! closes it.
//!
//! A hand-over takes these steps:
//!
//! 1. The successor connects and reads the sockets, then starts.
//! 2. When the successor accepts connections, it writes one byte.
//! 3. Only then does the predecessor drain. A successor that fails before leaves everything as it was.
//!
//! The sockets of paths go over as well, with the identities of their files, so that no file of the predecessor has to
//! be replaced.
//!
//! A predecessor that is told to end hands over until its listeners close. A successor that comes later finds nobody at
//! the path, and free addresses.

use std::{
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::{io::Interest, time::timeout};

use super::{
    control::Control,
    service_manager::{self, ServiceState},
};
use crate::net::front::{
    inherited::{Inherited, PATIENCE, READY},
    parcel,
    socket_file::{self, SocketFile},
};

/// The pause after a failed accept. Without free descriptors there is nothing to do but to wait for some.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The path at which a successor finds this process.
#[derive(Debug)]
pub struct Handover {
    path: PathBuf,
    /// `None` = another process still answers there.
    place: Option<(UnixListener, SocketFile)>,
}

impl Handover {
    /// Listens at `path`: on the predecessor's own socket if it passed that. It is no error if another process answers
    /// there: it may be about to end, and [`Self::handed_over`] waits for that. Only this user may connect.
    ///
    /// # Errors
    /// The path cannot be bound.
    pub fn bind(path: &Path, inherited: &mut Inherited) -> io::Result<Self> {
        let place = match socket_file::bind(path, inherited.take_path(path)) {
            Ok(place) => Some(place),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let path = path.display();
                tracing::warn!(%path, %error, "a successor can call when the path is free");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), place })
    }

    /// Ready once a successor serves our listeners and we accept no more. Never ready if the path cannot be bound.
    pub async fn handed_over(self, control: &Control) {
        let path = self.path;
        let place = match self.place {
            Some(place) => Ok(place),
            None => socket_file::when_free(|| socket_file::bind(&path, None))
                .await
                .inspect(|_| tracing::info!(path = %path.display(), "a successor can call now")),
        };
        let place = place.and_then(|(listener, file)| Ok((tokio::net::UnixListener::from_std(listener)?, file)));
        let (listener, file) = match place {
            Ok(place) => place,
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "no successor can call");
                return std::future::pending().await;
            }
        };
        file.take_back();
        loop {
            let handed_over = match listener.accept().await {
                Ok((successor, _)) => hand_over(successor, &listener, &file, control).await,
                Err(error) => {
                    #[expect(clippy::disallowed_methods, reason = "nothing says when descriptors are free again")]
                    tokio::time::sleep(BACK_OFF).await;
                    Err(error)
                }
            };
            match handed_over {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, path = %path.display(), "a successor did not take over"),
            }
            file.take_back();
            control.take_back_sockets();
        }
    }
}

async fn hand_over(
    successor: tokio::net::UnixStream,
    listener: &tokio::net::UnixListener,
    file: &SocketFile,
    control: &Control,
) -> io::Result<()> {
    let caller = successor.peer_cred()?;
    let user = caller.uid();
    if user != 0 && user != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it is of user {user}")));
    }
    let mut sockets = control.lend_sockets()?;
    sockets.add_path(listener, file)?;
    let tickets = control.tickets().to_bytes(Instant::now());
    let sticky = &**control.sticky_secret();
    let give = successor.async_io(Interest::WRITABLE, || parcel::send(&successor, &sockets, &tickets, sticky));
    timeout(PATIENCE, give).await??;
    let mut byte = [0];
    let answer = successor.async_io(Interest::READABLE, || successor.try_read(&mut byte));
    match timeout(PATIENCE, answer).await?? {
        1 if byte == [READY] => {
            control.leave_listeners().await;
            // Before the successor goes on: a service manager believes what the service's own process says.
            if let Some(id) = caller.pid() {
                service_manager::tell(ServiceState::Successor(id));
            }
            Ok(())
        }
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it gave up")),
    }
}
