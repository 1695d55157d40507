//! What a service manager is told (sd_notify(3)): that the process serves, and which process does so after a hand-over.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// The listeners are served.
    Ready,
    /// From now on this process is the service, and the one that tells it ends.
    Successor(i32),
}

/// Tells the service manager, if there is one that wants to hear (`NOTIFY_SOCKET`). If it cannot be told, the log says so.
pub fn tell(state: ServiceState) {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&place, state) {
        tracing::warn!(%error, ?state, "the service manager cannot be told");
    }
}

fn send(place: &OsStr, state: ServiceState) -> io::Result<()> {
    let address = match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not stop us.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.text().as_bytes(), &address)?;
    Ok(())
}

impl ServiceState {
    fn text(self) -> String {
        match self {
            Self::Ready => "READY=1".to_owned(),
            Self::Successor(id) => format!("MAINPID={id}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_at_a_path_and_at_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("longwire-test-{}", std::process::id());
        let named = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, place) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&named).unwrap(), format!("@{name}").into()),
        ] {
            for (state, expected) in [(ServiceState::Ready, "READY=1"), (ServiceState::Successor(4711), "MAINPID=4711")]
            {
                send(&place, state).unwrap();
                let mut heard = [0; 64];
                let length = socket.recv(&mut heard).unwrap();
                assert_eq!(&heard[..length], expected.as_bytes());
            }
        }
        assert!(send(folder.path().join("nobody").as_os_str(), ServiceState::Ready).is_err());
    }
}
