//! Sockets in the file system: the one way in which this process binds a path, and gives it up.
//!
//! Only a socket that nobody answers on is replaced, because a process that was killed has left it behind. A file, a
//! folder, a link or a socket on which another process answers stays as it is.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::{Account, SocketRights};

/// Connections that may wait to be accepted where there are few: operators and successors.
pub(in crate::net) const BACKLOG: i32 = 128;
/// The pause between two attempts to bind an address that another process has.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a process waits at most for others of ours that bind or remove a socket in the same folder, and the pause between
/// two looks. They need far less.
const TURN: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);

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
        fs::symlink_metadata(path).map(|found| Self::of(&found))
    }

    fn of(found: &fs::Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

impl SocketFile {
    /// The file of a socket that another process opened. It stays that process's until [`Self::take_back`].
    pub(in crate::net) fn of_another(path: &Path, id: FileId) -> Self {
        Self { path: path.to_owned(), id, is_ours: AtomicBool::new(false) }
    }

    pub(in crate::net) const fn id(&self) -> FileId {
        self.id
    }

    /// Gives the file these rights, as far as it has others.
    ///
    /// # Errors
    /// A user or group that is not there, or that this process may not give a file to. `NotFound`: the file is not at its
    /// path any more.
    pub(in crate::net) fn set_rights(&self, rights: &SocketRights) -> io::Result<()> {
        let SocketRights { mode, owner, group } = rights;
        let owner = owner.as_ref().map(Account::user).transpose()?;
        let group = group.as_ref().map(Account::group).transpose()?;
        // The open file is the one that is looked at and changed, whatever somebody puts at the path meanwhile.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::File::from(rustix::fs::open(&self.path, flags, Mode::empty())?);
        let found = file.metadata()?;
        if FileId::of(&found) != self.id || !found.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another file has taken the place of the socket's"));
        }
        // The mode comes first, because a process may not change the mode of a file that it has given away.
        if found.mode() & 0o7777 != *mode {
            // chmod(2) does not heed the umask, which is the whole process's. A descriptor of this kind goes by its path.
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            #[expect(clippy::disallowed_methods, reason = "a file of ours, never by a worker")]
            fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
        }
        let (owner, group) = (owner.filter(|uid| *uid != found.uid()), group.filter(|gid| *gid != found.gid()));
        if owner.is_some() || group.is_some() {
            let (owner, group) = (owner.map(Uid::from_raw), group.map(Gid::from_raw));
            rustix::fs::chownat(&file, "", owner, group, AtFlags::EMPTY_PATH)?;
        }
        Ok(())
    }

    /// Whether the file is still at its path.
    pub(in crate::net) fn is_there(&self) -> bool {
        FileId::at(&self.path).is_ok_and(|id| id == self.id)
    }

    /// Removes the file, unless something else is at the path by then.
    fn remove(&self) {
        if self.is_there() {
            #[expect(clippy::disallowed_methods, reason = "a path of ours, at the end of its listener")]
            let _ = fs::remove_file(&self.path);
        }
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
        if self.is_ours.load(Relaxed) {
            let _turn = await_turn(&self.path);
            self.remove();
        }
    }
}

/// Listens at a path for operators or successors: on the predecessor's socket, if `passed`, otherwise on a new one. Only
/// this user may connect. A predecessor's file stays the predecessor's until [`SocketFile::take_back`].
///
/// # Errors
/// Those of [`listen`].
pub(in crate::net) fn bind(
    path: &Path,
    passed: Option<(UnixListener, FileId)>,
) -> io::Result<(UnixListener, SocketFile)> {
    match passed {
        Some((listener, id)) => Ok((listener, SocketFile::of_another(path, id))),
        None => listen(path, &SocketRights::OURS, BACKLOG),
    }
}

/// Listens at a path on a new socket. Its file has these rights before anybody can connect.
///
/// # Errors
/// - `AddrInUse`: another process answers there.
/// - A user or group of the rights that is not there, or that this process may not give a file to.
/// - Any other error stays until somebody removes what is at the path.
pub(in crate::net) fn listen(
    path: &Path,
    rights: &SocketRights,
    backlog: i32,
) -> io::Result<(UnixListener, SocketFile)> {
    let _turn = await_turn(path);
    clear(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // The file gets the mode of the socket, less the bits of the umask. So nobody else may open it at any time.
    let socket = fs::File::from(OwnedFd::from(socket));
    socket.set_permissions(fs::Permissions::from_mode(SocketRights::OURS.mode))?;
    let socket = Socket::from(OwnedFd::from(socket));
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile { path: path.to_owned(), id: FileId::at(path)?, is_ours: AtomicBool::new(false) };
    // Until listen(2), the kernel refuses who connects, whatever the rights are.
    match file.set_rights(rights).and_then(|()| socket.listen(backlog)) {
        Ok(()) => file.take_back(),
        Err(error) => {
            file.remove();
            return Err(error);
        }
    }
    Ok((UnixListener::from(OwnedFd::from(socket)), file))
}

/// Waits until no other process of ours binds or removes a socket in this folder, and keeps the others waiting for as long as
/// the result lives (flock(2)). For between bind(2) and listen(2) a socket looks as if a process had left it behind.
///
/// `None` = the folder cannot be locked, or somebody keeps the lock who is none of us: then nobody is waited for.
#[expect(
    clippy::disallowed_methods,
    reason = "never by a worker; only others that do the same hold the lock, and not for long"
)]
fn await_turn(path: &Path) -> Option<fs::File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let folder = fs::File::open(folder).ok()?;
    let mut waited = Duration::ZERO;
    loop {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(fs::TryLockError::WouldBlock) if waited < TURN => {}
            Err(_) => return None,
        }
        thread::sleep(LOOK);
        waited += LOOK;
    }
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
    let outcome = call(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let text =
                "a socket stands there on which longwire may not ask whether anybody answers: remove it if nobody does";
            io::Error::new(error.kind(), text)
        }
        _ => error,
    });
    match outcome? {
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
    use std::{
        os::unix::{fs::symlink, net::UnixDatagram},
        sync::{Barrier, Mutex},
    };

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
    fn a_file_has_its_mode_whatever_the_umask_is_and_a_group_that_is_not_there_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // The umask of the tests may be any. No usual one lets everybody write.
        let rights = SocketRights { mode: 0o666, owner: None, group: None };
        let (_listener, file) = listen(&path, &rights, 1).unwrap();
        assert_eq!(mode(&path), 0o666);
        file.set_rights(&SocketRights { mode: 0o640, ..rights.clone() }).unwrap();
        assert_eq!(mode(&path), 0o640);
        let nobody = SocketRights { group: Some(Account::Name("no-such-group".into())), ..rights };
        assert!(file.set_rights(&nobody).unwrap_err().to_string().contains("no group `no-such-group`"));
        assert_eq!(mode(&path), 0o640, "nothing has changed");
        drop(file);
        assert!(listen(&path, &nobody, 1).is_err() && !path.exists());
        // Another file at the path keeps its rights.
        let (_listener, file) = listen(&path, &SocketRights::OURS, 1).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        fs::write(&path, "another").unwrap();
        let before = mode(&path);
        let error = file.set_rights(&SocketRights { mode: 0o600 ^ before, owner: None, group: None }).unwrap_err();
        assert!(error.to_string().contains("another file"), "{error}");
        // A link to one leaves that one alone too.
        fs::rename(&path, folder.path().join("target")).unwrap();
        symlink("target", &path).unwrap();
        assert!(file.set_rights(&SocketRights { mode: 0o600 ^ before, owner: None, group: None }).is_err());
        assert_eq!(mode(&folder.path().join("target")), before);
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
    fn of_those_who_want_a_path_at_the_same_time_one_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        for _ in 0..100 {
            // As a process leaves it that was killed.
            drop(UnixListener::bind(&path).unwrap());
            let (start, bound) = (Barrier::new(4), Mutex::new(Vec::new()));
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        let one = bind_at(&path);
                        bound.lock().unwrap().extend(one);
                    });
                }
            });
            let bound = bound.into_inner().unwrap();
            assert_eq!(bound.len(), 1);
            assert_eq!(bound[0].1.id(), FileId::at(&path).unwrap());
        }
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
