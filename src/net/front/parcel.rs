//! What a predecessor gives to its successor: listening sockets, and one message with everything else.
//!
//! The sockets come with one byte, [`SOCKETS`]. The parts of the message follow it, each with its kind and its length.
//! A version that knows no parts reads the one byte only. A version that does not know a kind skips that part.

use std::{
    io::{self, IoSlice, IoSliceMut},
    iter,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    time::Instant,
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};
use zeroize::Zeroizing;

use super::{
    listener::Origin,
    socket_file::{FileId, SocketFile},
    tickets::Tickets,
};
use crate::net::{stream::sockets::BoundSocket, worker::plan::StickySecret};

/// The most sockets in one message, a limit of the kernel (`SCM_MAX_FD`).
const MOST: usize = 253;
/// The byte that comes with the sockets.
const SOCKETS: u8 = b'S';
/// The kind of the part with the keys of TLS tickets.
const TICKETS: u8 = b'T';
/// The kind of the part with the identities of files. The files are those of the last sockets, which listen at paths.
const PATHS: u8 = b'P';
/// The kind of the part that lists the sockets of the service manager, each by its place (1 byte) among those without a
/// file of ours.
const MANAGERS: u8 = b'M';
/// The kind of the part with the key of sticky cookies.
const STICKY: u8 = b'K';
/// The most bytes of a message. It arrives in one piece, because it was sent by one call. The identities of [`MOST`]
/// files have room.
const LONGEST: usize = 8192;

/// Listening sockets for a successor.
#[derive(Debug, Default)]
pub(in crate::net) struct Sockets {
    /// Those without a file of ours: TCP sockets, abstract ones, and all of the service manager. An older version ignores
    /// those that are no TCP sockets.
    pub(in crate::net) listeners: Vec<(BoundSocket, Origin)>,
    pub(super) paths: Vec<(UnixListener, FileId)>,
}

/// Keys of a predecessor. Each is `None` if the predecessor gave none that can be used.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// Those of TLS tickets.
    pub(super) tickets: Option<Tickets>,
    /// That of sticky cookies.
    pub(super) sticky: Option<StickySecret>,
}

impl Sockets {
    /// Adds a Unix socket to those that the successor gets. From now on this process does not remove the socket's file.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(in crate::net) fn add_path(&mut self, listener: &impl AsFd, file: &SocketFile) -> io::Result<()> {
        self.paths.push((UnixListener::from(listener.as_fd().try_clone_to_owned()?), file.id()));
        file.lend();
        Ok(())
    }
}

pub(in crate::net) fn send(successor: &impl AsFd, sockets: &Sockets, tickets: &[u8], sticky: &[u8]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let listeners = sockets.listeners.iter().map(|(socket, _)| socket.as_fd());
    let paths = sockets.paths.iter().map(|(listener, _)| listener.as_fd());
    let descriptors: Vec<BorrowedFd<'_>> =
        listeners.take(MOST.saturating_sub(sockets.paths.len())).chain(paths).collect();
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let ids: Vec<u8> = sockets.paths.iter().flat_map(|(_, id)| id.to_bytes()).collect();
    let origins = (0..=u8::MAX).zip(&sockets.listeners);
    let managers: Vec<u8> =
        origins.filter(|(_, (_, origin))| *origin == Origin::Manager).map(|(place, _)| place).collect();
    // The kernel sends descriptors only with at least one byte.
    let parts = [(TICKETS, tickets), (STICKY, sticky), (PATHS, &ids[..]), (MANAGERS, &managers[..])];
    let heads = parts.iter().map(|(kind, part)| head(*kind, part)).collect::<io::Result<Vec<_>>>()?;
    let parts = heads.iter().zip(parts).flat_map(|(head, (_, part))| [&head[..], part]);
    let said: Vec<_> = iter::once(&[SOCKETS][..]).chain(parts).map(IoSlice::new).collect();
    sendmsg(successor, &said, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

pub(super) fn receive(predecessor: &UnixStream) -> io::Result<(Sockets, Secrets)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut said = Zeroizing::new([0; LONGEST]);
    let received = recvmsg(predecessor, &mut [IoSliceMut::new(&mut *said)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let Some((&SOCKETS, parts)) = said.get(..received.bytes).and_then(<[u8]>::split_first) else {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has closed its listeners"));
    };
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    let ids = part(parts, PATHS).unwrap_or_default().chunks_exact(FileId::BYTES).filter_map(FileId::from_bytes);
    let ids: Vec<FileId> = ids.collect();
    let paths = descriptors.split_off(descriptors.len().saturating_sub(ids.len()));
    let paths = paths.into_iter().map(UnixListener::from).zip(ids).collect();
    let managers = part(parts, MANAGERS).unwrap_or_default();
    let origin = |place| if managers.contains(&place) { Origin::Manager } else { Origin::Predecessor };
    let listeners = (0..=u8::MAX).zip(descriptors).map(|(place, socket)| (socket.into(), origin(place))).collect();
    let tickets = part(parts, TICKETS).and_then(|keys| Tickets::from_bytes(keys, Instant::now()));
    let sticky = part(parts, STICKY).and_then(|key| Some(StickySecret::new(key.try_into().ok()?)));
    Ok((Sockets { listeners, paths }, Secrets { tickets, sticky }))
}

/// What stands before a part: its kind (1 byte) and its length (2 bytes).
fn head(kind: u8, part: &[u8]) -> io::Result<[u8; 3]> {
    let [high, low] = u16::try_from(part.len()).map_err(io::Error::other)?.to_be_bytes();
    Ok([kind, high, low])
}

/// Finds the part of this kind.
fn part(mut parts: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (&[kind, high, low], rest) = parts.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        if kind == wanted {
            return Some(part);
        }
        parts = rest;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use socket2::SockRef;

    use super::{super::socket_file, *};

    #[test]
    fn a_successor_learns_which_sockets_the_service_manager_keeps() {
        let folder = tempfile::tempdir().unwrap();
        let listen = |name: &str| match name {
            "tcp" => BoundSocket::Tcp(std::net::TcpListener::bind("127.0.0.1:0").unwrap()),
            name => BoundSocket::Unix(UnixListener::bind(folder.path().join(name)).unwrap()),
        };
        let origins = [Origin::Opened, Origin::Manager, Origin::Predecessor, Origin::Manager];
        let listeners: Vec<_> = ["tcp", "a", "tcp", "tcp"].map(listen).into_iter().zip(origins).collect();
        let of = |listeners: &[(BoundSocket, Origin)]| -> Vec<String> {
            listeners.iter().map(|(socket, _)| format!("{:?}", SockRef::from(socket).local_addr().unwrap())).collect()
        };
        let addresses = of(&listeners);
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, &Sockets { listeners, ..Sockets::default() }, b"keys", &[7; 32]).unwrap();
        let (Sockets { listeners, .. }, secrets) = receive(&there).unwrap();
        assert_eq!(*secrets.sticky.unwrap(), [7; 32]);
        assert_eq!(of(&listeners), addresses);
        assert!(matches!(listeners[1].0, BoundSocket::Unix(_)) && matches!(listeners[2].0, BoundSocket::Tcp(_)));
        let origins: Vec<_> = listeners.into_iter().map(|(_, origin)| origin).collect();
        assert_eq!(origins, [Origin::Predecessor, Origin::Manager, Origin::Predecessor, Origin::Manager]);
    }

    #[test]
    fn a_hundred_files_fit_into_a_message() {
        let folder = tempfile::tempdir().unwrap();
        let (listener, file) = socket_file::bind(&folder.path().join("socket"), None).unwrap();
        let mut sockets = Sockets::default();
        for _ in 0..100 {
            sockets.add_path(&listener, &file).unwrap();
        }
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, &sockets, &[7; 200], &[7; 32]).unwrap();
        let (received, _) = receive(&there).unwrap();
        assert_eq!(received.paths.len(), 100);
        assert!(received.listeners.is_empty() && received.paths.iter().all(|(_, id)| *id == file.id()));
    }
}
