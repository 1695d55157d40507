//! A stand-in for a load balancer that cuts idle connections.
//!
//! It relays TCP without a look at the bytes, so it cannot send a Close. When it cuts, the WebSockets at both ends see 1006.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long to wait after an error of accept, for example when no descriptor is left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// The deadline for connecting to the address behind the cutter.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The most bytes that are moved at once, per direction.
const CHUNK: usize = 16 * 1024;

/// How a relayed connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// One side closed or failed.
    BySide,
    /// No byte passed in either direction for the time of the cut.
    Silent,
}

/// Accepts from `listener` and relays each connection to `to`. When this future is dropped, its connections end too.
pub async fn serve(listener: TcpListener, to: SocketAddr, cut: Duration) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                connections.spawn(relay_to(client, to, cut));
            }
            Err(_) => sleep(ACCEPT_BACKOFF).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Moves bytes both ways until a side ends, or until no byte has passed for `cut`; then both connections are reset.
///
/// # Errors
/// A socket refuses its options.
pub async fn relay(mut client: TcpStream, mut backend: TcpStream, cut: Duration) -> io::Result<ConnectionEnd> {
    client.set_nodelay(true)?;
    backend.set_nodelay(true)?;
    let moved = Notify::new();
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_backend, to_backend) = backend.split();
        tokio::select! {
            _ = async {
                tokio::try_join!(
                    copy(from_client, to_backend, &moved),
                    copy(from_backend, to_client, &moved),
                )
            } => ConnectionEnd::BySide,
            () = until_silent(&moved, cut) => ConnectionEnd::Silent,
        }
    };
    if ended == ConnectionEnd::Silent {
        client.set_zero_linger()?;
        backend.set_zero_linger()?;
    }
    Ok(ended)
}

async fn relay_to(client: TcpStream, to: SocketAddr, cut: Duration) -> io::Result<ConnectionEnd> {
    let backend = timeout(CONNECT_WITHIN, TcpStream::connect(to)).await??;
    relay(client, backend, cut).await
}

/// Moves the bytes of one direction to their end, and passes the FIN on.
async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, moved: &Notify) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = from.read(&mut chunk).await?;
        moved.notify_one();
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..count]).await?;
        moved.notify_one();
    }
}

/// Returns when nothing has moved for `cut`.
async fn until_silent(moved: &Notify, cut: Duration) {
    while timeout(cut, moved.notified()).await.is_ok() {}
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Longer than any test may take, for a test in which a cut would be wrong.
    const NEVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_silent_connection_is_reset_at_both_ends() {
        let (mut client, at_cutter) = connected().await;
        let (to_backend, mut backend) = connected().await;
        let cut = tokio::spawn(relay(at_cutter, to_backend, Duration::from_millis(50)));

        assert_eq!(cut.await.unwrap().unwrap(), ConnectionEnd::Silent);
        for end in [&mut client, &mut backend] {
            let seen = end.read(&mut [0; 1]).await.unwrap_err();
            assert_eq!(seen.kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn bytes_in_one_direction_put_the_cut_off() {
        let cut = Duration::from_millis(500);
        let (mut client, at_cutter) = connected().await;
        let (to_backend, mut backend) = connected().await;
        let relayed = tokio::spawn(relay(at_cutter, to_backend, cut));

        let mut beat = tokio::time::interval(cut / 10);
        for _ in 0..15 {
            beat.tick().await;
            client.write_all(b"x").await.unwrap();
            backend.read_exact(&mut [0; 1]).await.unwrap();
        }
        assert!(!relayed.is_finished(), "it was cut although bytes kept passing");
        assert_eq!(relayed.await.unwrap().unwrap(), ConnectionEnd::Silent);
    }

    #[tokio::test]
    async fn bytes_and_fins_pass_both_ways() {
        let (mut client, at_cutter) = connected().await;
        let (to_backend, mut backend) = connected().await;
        let relayed = tokio::spawn(relay(at_cutter, to_backend, NEVER));

        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        backend.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"question");

        backend.write_all(b"answer").await.unwrap();
        drop(backend);
        heard.clear();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"answer");
        assert_eq!(relayed.await.unwrap().unwrap(), ConnectionEnd::BySide);
    }

    #[tokio::test]
    async fn serve_connects_each_client_to_its_address() {
        let behind = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (front_address, behind_address) = (front.local_addr().unwrap(), behind.local_addr().unwrap());
        let mut cutter = JoinSet::new();
        cutter.spawn(serve(front, behind_address, NEVER));

        for word in [*b"one", *b"two"] {
            let mut client = TcpStream::connect(front_address).await.unwrap();
            client.write_all(&word).await.unwrap();
            let (mut backend, _) = behind.accept().await.unwrap();
            let mut heard = [0; 3];
            backend.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, word);
        }
    }

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (outer, inner) = tokio::join!(TcpStream::connect(address), listener.accept());
        (outer.unwrap(), inner.unwrap().0)
    }
}
