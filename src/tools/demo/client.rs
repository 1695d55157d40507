//! A client that opens a WebSocket and says nothing.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::story::{ABNORMAL, Event, NO_CODE, Way};

/// How long opening may take.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// What it says when it is asked to prove that it still works.
const PROOF: &str = "still here";

/// An open WebSocket on one of the two ways.
#[derive(Debug)]
pub(super) struct SilentClient {
    way: Way,
    socket: WebSocketStream<TcpStream>,
}

impl SilentClient {
    /// Opens a WebSocket at `address`.
    ///
    /// # Errors
    /// When the handshake fails or takes longer than 5 s.
    pub(super) async fn open(way: Way, address: SocketAddr) -> tungstenite::Result<Self> {
        let opening = async {
            let stream = TcpStream::connect(address).await?;
            client_async(format!("ws://{address}/ws"), stream).await
        };
        let (socket, _) = timeout(OPEN_WITHIN, opening).await.map_err(std::io::Error::from)??;
        Ok(Self { way, socket })
    }

    /// Stays silent and answers Pings until the WebSocket ends, telling `events` what happens. When `prove` fires it
    /// sends one message; when that comes back it closes with 1000 and reports no end.
    pub(super) async fn stay(mut self, events: mpsc::Sender<(Way, Event)>, mut prove: oneshot::Receiver<()>) {
        let mut asked = false;
        let mut code = None;
        loop {
            let event = tokio::select! {
                incoming = self.socket.next() => match incoming {
                    Some(Ok(Message::Ping(_))) => match self.socket.flush().await {
                        Ok(()) => Event::PingAnswered,
                        Err(_) => Event::Ended(ABNORMAL),
                    },
                    Some(Ok(Message::Text(text))) if asked && text.as_str() == PROOF => Event::Echoed,
                    Some(Ok(Message::Close(frame))) => {
                        code = Some(frame.map_or(NO_CODE, |close| close.code.into()));
                        continue;
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => Event::Ended(code.unwrap_or(ABNORMAL)),
                },
                Ok(()) = &mut prove, if !asked => {
                    asked = true;
                    match self.socket.send(Message::text(PROOF)).await {
                        Ok(()) => continue,
                        Err(_) => Event::Ended(ABNORMAL),
                    }
                }
            };
            // Where no one listens any more there is nothing left to tell.
            let _ = events.send((self.way, event)).await;
            match event {
                Event::PingAnswered => {}
                Event::Echoed => return self.leave().await,
                Event::Ended(_) => return,
            }
        }
    }

    /// The close handshake, to the end of the stream. The proof is made; how this goes no longer matters.
    async fn leave(mut self) {
        let bye = CloseFrame { code: CloseCode::Normal, reason: "demo over".into() };
        if self.socket.close(Some(bye)).await.is_ok() {
            while let Some(Ok(_)) = self.socket.next().await {}
        }
    }
}
