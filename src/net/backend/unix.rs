//! The way to a backend at a Unix socket of this machine.

use std::{io, time::Duration};

use super::chance;
use crate::{
    config::UnixName,
    net::stream::{sockets::Socket, unix},
};

/// The shortest and the longest pause before another attempt, while the backlog is full. Each pause is a random one between
/// them: nobody asks more often than others, and not all ask at the same instant.
const PAUSE: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(40)];

/// Connects, and waits for as long as the backlog is full. For TCP the kernel waits instead, and asks again by itself.
pub(super) async fn dial(name: &UnixName) -> io::Result<Socket> {
    let address = unix::address(name)?;
    loop {
        match Socket::connect_unix(&address) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            connected => return connected,
        }
        #[expect(clippy::disallowed_methods, reason = "nothing says when a backlog has room again")]
        tokio::time::sleep(pause()).await;
    }
}

fn pause() -> Duration {
    let [shortest, longest] = PAUSE;
    shortest + chance::time(longest - shortest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        os::unix::net::{UnixListener, UnixStream},
        pin::pin,
        task::{Context, Waker},
    };

    use socket2::{Domain, Type};
    use tokio::{runtime::Builder, time::timeout};

    use super::*;
    use crate::net::stream::sockets::Attendant;

    fn attended<T>(work: impl Future<Output = T>) -> T {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Attendant::new().unwrap().attend(work).await })
    }

    #[test]
    fn a_full_backlog_is_waited_for_and_its_first_place_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let full = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        full.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        // The backlog has one place, and somebody has it.
        full.listen(0).unwrap();
        let _first = UnixStream::connect(&path).unwrap();
        let name = UnixName::Path(path);
        attended(async {
            let mut dialing = pin!(dial(&name));
            let pending = dialing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
            assert!(pending, "no place, and no failure");
            let full = UnixListener::from(std::os::fd::OwnedFd::from(full));
            let _first_there = full.accept().unwrap();
            timeout(Duration::from_secs(10), dialing).await.expect("a place").unwrap();
            full.accept().unwrap();
        });
    }

    #[test]
    fn who_is_not_there_is_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let failure = |name: UnixName| attended(async move { dial(&name).await.unwrap_err().kind() });
        assert_eq!(failure(UnixName::Path(path.clone())), io::ErrorKind::NotFound);
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(failure(UnixName::Path(path)), io::ErrorKind::ConnectionRefused);
        assert_eq!(failure(UnixName::Abstract("longwire/nobody is here".into())), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn those_who_wait_ask_neither_all_at_once_nor_at_a_growing_distance() {
        let pauses: Vec<_> = (0..1000).map(|_| pause()).collect();
        assert!(pauses.iter().all(|pause| (PAUSE[0]..=PAUSE[1]).contains(pause)));
        let middle = (PAUSE[0] + PAUSE[1]) / 2;
        let late = pauses.iter().filter(|pause| **pause > middle).count();
        assert!((300..700).contains(&late), "{late}");
    }
}
