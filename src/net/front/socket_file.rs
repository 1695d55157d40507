//! Sockets in the file system: the one way in which this process binds a path, and gives it up.
//!
//! Only a socket that nobody answers on is replaced, because a process that was killed has left it behind. A file, a
//! folder, a link or a socket on which another process answers stays as it is.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};

/// Connections that may wait to be accepted. There are few operators and successors.
const BACKLOG: i32 = 128;
/// The pause between two attempts to bind an address that another process has.
const AGAIN: Duration = Duration::from_secs(1);

/// The file of a socket. Dropping this removes the file, unless another process has the socket too, or something else
/// is at the path by then.
#[derive(Debug)]
pub(in crate::net) struct SocketFile {
    path: PathBuf,
    id: FileId,
    /// No other process listens on this socket, or is about to.
    is_ours: AtomicBool,
}

/// The identity of a file, whatever path leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(in crate::net) const BYTES: usize = 16;

    /// For another process on this machine.
    pub(in crate::net) fn to_bytes(self) -> [u8; Self::BYTES] {
        ((u128::from(self.device) << 64) | u128::from(self.inode)).to_ne_bytes()
    }

    pub(in crate::net) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let both = u128::from_ne_bytes(bytes.try_into().ok()?);
        let [device, inode] = [both >> 64, both & u128::from(u64::MAX)].map(u64::try_from);
        Some(Self { device: device.ok()?, inode: inode.ok()? })
    }

    /// The identity of what is at a path. A link is not followed.
    ///
    /// # Errors
    /// Those of lstat(2).
    pub(in crate::net) fn at(path: &Path) -> io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "a look at a path of ours, never by a worker")]
        let found = fs::symlink_metadata(path)?;
        Ok(Self { device: found.dev(), inode: found.ino() })
    }
}

impl SocketFile {
    pub(in crate::net) const fn id(&self) -> FileId {
        self.id
    }

    /// Gives the socket to another process too. From now on, dropping this does not remove the file.
    pub(in crate::net) fn lend(&self) {
        self.is_ours.store(false, Relaxed);
    }

    /// Takes the socket back, because the other process has gone or does not want it.
    pub(in crate::net) fn take_back(&self) {
        self.is_ours.store(true, Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours.load(Relaxed) && FileId::at(&self.path).is_ok_and(|id| id == self.id) {
            #[expect(clippy::disallowed_methods, reason = "a path of ours, at the end of its listener")]
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at a path: on the predecessor's socket, if `passed`, otherwise on a new one. Only this user may connect.
/// A predecessor's file stays the predecessor's until [`SocketFile::take_back`].
///
/// # Errors
/// `AddrInUse`: another process answers there. Any other error stays until somebody removes what is at the path.
pub(in crate::net) fn bind(
    path: &Path,
    passed: Option<(UnixListener, FileId)>,
) -> io::Result<(UnixListener, SocketFile)> {
    if let Some((listener, id)) = passed {
        let file = SocketFile { path: path.to_owned(), id, is_ours: AtomicBool::new(false) };
        return Ok((listener, file));
    }
    clear(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // The file gets the mode of the socket, so that nobody else may connect at any time.
    let socket = fs::File::from(OwnedFd::from(socket));
    socket.set_permissions(fs::Permissions::from_mode(0o600))?;
    let socket = Socket::from(OwnedFd::from(socket));
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile { path: path.to_owned(), id: FileId::at(path)?, is_ours: AtomicBool::new(true) };
    socket.listen(BACKLOG)?;
    Ok((UnixListener::from(OwnedFd::from(socket)), file))
}

/// Binds, and tries again for as long as another process has the address.
///
/// # Errors
/// Any error but `AddrInUse`.
#[expect(clippy::disallowed_methods, reason = "nothing says when an address is free")]
pub(in crate::net) async fn when_free<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::time::sleep(AGAIN).await,
            bound => return bound,
        }
    }
}

/// Removes a socket that nobody answers on, and nothing else.
#[expect(clippy::disallowed_methods, reason = "a path of ours, before it has a listener")]
fn clear(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.is_socket() {
        let what = match found {
            found if found.is_dir() => "a folder",
            found if found.is_symlink() => "a symbolic link",
            found if found.is_file() => "a file",
            _ => "something that is no socket",
        };
        let text = format!("{what} stands there, and only a socket that nobody answers on is replaced");
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match call(path)? {
        CallOutcome::Nobody => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        CallOutcome::Connected(_) | CallOutcome::Busy => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"))
        }
    }
}

/// The outcome of a call to a path.
#[derive(Debug)]
pub(in crate::net) enum CallOutcome {
    Nobody,
    Connected(UnixStream),
    /// A process answers there, and its queue is full.
    Busy,
}

/// Connects to a path without waiting.
///
/// # Errors
/// Any error that does not tell whether a process answers there.
pub(in crate::net) fn call(path: &Path) -> io::Result<CallOutcome> {
    let caller = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A blocking connect would wait for as long as the queue is full.
    caller.set_nonblocking(true)?;
    match caller.connect(&SockAddr::unix(path)?).map_err(|error| (error.kind(), error)) {
        Ok(()) => {
            caller.set_nonblocking(false)?;
            Ok(CallOutcome::Connected(OwnedFd::from(caller).into()))
        }
        Err((io::ErrorKind::WouldBlock, _)) => Ok(CallOutcome::Busy),
        Err((io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound, _)) => Ok(CallOutcome::Nobody),
        Err((_, error)) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixDatagram};

    use fs_err as fs;

    use super::*;

    fn bind_at(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
        bind(path, None)
    }

    #[test]
    fn what_is_no_dead_socket_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "precious").unwrap();
        fs::write(at("empty"), "").unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nowhere", at("loose")).unwrap();
        drop(UnixListener::bind(at("dead")).unwrap());
        symlink("dead", at("to a dead one")).unwrap();
        let _live = UnixListener::bind(at("live")).unwrap();
        let _other = UnixDatagram::bind(at("datagrams")).unwrap();
        for (name, words) in [
            ("file", "a file stands there"),
            ("empty", "a file stands there"),
            ("folder", "a folder stands there"),
            ("link", "a symbolic link stands there"),
            ("loose", "a symbolic link stands there"),
            ("to a dead one", "a symbolic link stands there"),
            ("live", "another process listens there"),
            ("datagrams", "Protocol wrong type for socket"),
        ] {
            let before = FileId::at(&at(name)).unwrap();
            let refusal = bind_at(&at(name)).unwrap_err().to_string();
            assert!(refusal.contains(words), "{name}: {refusal}");
            assert_eq!(FileId::at(&at(name)).unwrap(), before, "{name}");
        }
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");
        bind_at(&at("dead")).unwrap();
    }

    #[test]
    fn a_full_queue_is_an_answer_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let hung = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        hung.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        hung.listen(0).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        assert_eq!(bind_at(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_file_goes_with_its_socket_unless_it_is_lent_or_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (listener, file) = bind_at(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop((listener, file));
        assert!(!path.exists());
        let (_listener, file) = bind_at(&path).unwrap();
        file.lend();
        drop(file);
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
        let (_listener, file) = bind_at(&path).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        fs::write(&path, "another").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another");
    }
}
