//! Finds connections to a backend that come back to this proxy. Their requests would go round until no descriptor is left.

use std::{
    io,
    net::SocketAddr,
    num::NonZeroU32,
    os::fd::AsFd,
    sync::{PoisonError, RwLock},
};

use socket2::{SockAddr, SockRef};

use crate::{
    error::{Error, Kind},
    net::stream::{sockets::BoundSocket, unix},
};

/// The addresses on which this process accepts.
#[derive(Debug, Default)]
pub(in crate::net) struct Own(RwLock<Vec<Place>>);

/// A place where a socket listens.
#[derive(Debug, Clone)]
pub(in crate::net) enum Place {
    Tcp {
        address: SocketAddr,
        /// Whether a socket on an IPv6 address takes IPv4 too. One on `[::]` does, unless its opener or
        /// `net.ipv6.bindv6only` forbids it.
        takes_v4: bool,
    },
    /// The name that the socket was bound to, as its clients read it too.
    Unix(SockAddr),
}

impl Place {
    /// # Errors
    /// The socket does not listen.
    pub(in crate::net) fn of(socket: &BoundSocket) -> io::Result<Self> {
        match socket {
            BoundSocket::Tcp(socket) => {
                let address = socket.local_addr()?;
                let takes_v4 = address.is_ipv4() || !SockRef::from(socket).only_v6()?;
                Ok(Self::Tcp { address, takes_v4 })
            }
            BoundSocket::Unix(socket) => Ok(Self::Unix(SockRef::from(socket).local_addr()?)),
        }
    }

    /// Address and port. `None` = a Unix socket.
    pub(in crate::net) const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { address, .. } => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether it is a TCP socket with this port.
    fn is_on(&self, port: u16) -> bool {
        self.tcp().is_some_and(|address| address.port() == port)
    }
}

impl Own {
    /// Sets the places on which this process accepts from now on.
    pub(in crate::net) fn set(&self, places: Vec<Place>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = places;
    }

    /// Refuses a connection to `peer` that is to this process, whatever name or address of this machine was used.
    ///
    /// # Errors
    /// [`Kind::Loop`].
    pub(in crate::net) fn check(&self, socket: &impl AsFd, peer: SocketAddr) -> Result<(), Error> {
        let listening = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut on_port = listening.iter().filter(|own| own.is_on(peer.port())).peekable();
        if on_port.peek().is_none() {
            return Ok(());
        }
        // A connection that is gone already fails by itself.
        let local = SockRef::from(socket).local_addr().ok().and_then(|address| address.as_socket());
        let Some(local) = local else { return Ok(()) };
        match on_port.find_map(|own| own.tcp().filter(|_| takes(own, peer, local))) {
            Some(own) => Err(Error::from_source(Kind::Loop, format!("{peer} comes to our listener on {own}"))),
            None => Ok(()),
        }
    }

    /// Refuses a connection to a Unix socket of this process, whatever path led to it. Two sockets may have been bound to
    /// one name in two containers. So the process that listens counts too.
    ///
    /// # Errors
    /// [`Kind::Loop`].
    pub(in crate::net) fn check_unix(&self, socket: &impl AsFd) -> Result<(), Error> {
        let listening = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut names = listening.iter().filter_map(|own| if let Place::Unix(name) = own { Some(name) } else { None });
        // Most proxies have no such listener, and need not ask the kernel.
        if names.clone().next().is_none() {
            return Ok(());
        }
        let Ok(bound) = SockRef::from(socket).peer_addr() else { return Ok(()) };
        let is_ours = || unix::peer_of(socket).is_ok_and(|peer| peer.pid == NonZeroU32::new(std::process::id()));
        if names.any(|name| *name == bound) && is_ours() {
            return Err(Error::from_source(Kind::Loop, "it comes to our own listener"));
        }
        Ok(())
    }
}

/// Whether a connection from `local` to `peer` comes to a listener on `own`, which has the port of `peer`. To an
/// address of this machine, the kernel connects from the same address, or within 127.0.0.0/8.
fn takes(own: &Place, peer: SocketAddr, local: SocketAddr) -> bool {
    let &Place::Tcp { address, takes_v4 } = own else { return false };
    let [own, peer, local] = [address, peer, local].map(|address| address.ip().to_canonical());
    let is_here = peer == local || peer.is_loopback();
    let takes_kind = if peer.is_ipv4() { takes_v4 } else { own.is_ipv6() };
    own == peer || is_here && own.is_unspecified() && takes_kind
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_takes_its_address_and_one_on_all_takes_those_of_this_machine() {
        let takes = |own: &str, peer: &str, local: &str| {
            let [own, peer, local] = [own, peer, local].map(|ip| SocketAddr::new(ip.parse().unwrap(), 80));
            takes(&Place::Tcp { address: own, takes_v4: true }, peer, local)
        };
        assert!(takes("127.0.0.1", "127.0.0.1", "127.0.0.1"));
        assert!(takes("10.0.0.1", "10.0.0.1", "10.0.0.1"));
        assert!(takes("0.0.0.0", "127.0.0.2", "127.0.0.1"));
        assert!(takes("0.0.0.0", "10.0.0.1", "10.0.0.1"));
        assert!(takes("::", "10.0.0.1", "10.0.0.1") && takes("::", "::1", "::1"));
        assert!(takes("::", "::ffff:127.0.0.1", "127.0.0.1"));
        // Other servers on the same port: on another machine, or on another address of this machine.
        assert!(!takes("0.0.0.0", "10.0.0.2", "10.0.0.1"));
        assert!(!takes("127.0.0.1", "127.0.0.2", "127.0.0.1"));
        assert!(!takes("0.0.0.0", "::1", "::1"));
    }

    #[test]
    fn a_listener_for_ipv6_only_takes_no_ipv4() {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        socket.set_only_v6(true).unwrap();
        socket.bind(&SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)).into()).unwrap();
        socket.listen(1).unwrap();
        let own = Place::of(&BoundSocket::Tcp(socket.into())).unwrap();
        let address = own.tcp().unwrap();
        let here = |ip: &str| SocketAddr::new(ip.parse().unwrap(), address.port());
        assert!(takes(&own, here("::1"), here("::1")));
        assert!(!takes(&own, here("127.0.0.1"), here("127.0.0.1")), "another server has that");
        let both = Place::Tcp { address, takes_v4: true };
        assert!(takes(&both, here("127.0.0.1"), here("127.0.0.1")));
    }

    #[test]
    fn a_unix_socket_of_ours_is_found_by_any_path_and_that_of_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let bind = |name: &str| std::os::unix::net::UnixListener::bind(folder.path().join(name)).unwrap();
        let own = Own::default();
        let ours = BoundSocket::Unix(bind("ours"));
        own.set(vec![Place::of(&ours).unwrap()]);
        std::os::unix::fs::symlink("ours", folder.path().join("link")).unwrap();
        let _theirs = bind("theirs");
        for (name, is_ours) in [("ours", true), ("link", true), ("theirs", false)] {
            let socket = std::os::unix::net::UnixStream::connect(folder.path().join(name)).unwrap();
            assert_eq!(own.check_unix(&socket).is_err(), is_ours, "{name}");
        }
    }
}
