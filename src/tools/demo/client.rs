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

use super::story::{ABNORMAL, DemoWay, Event, NO_CODE};

/// How long it may take to open the WebSocket.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// The message that the client sends to prove that it still works.
const PROOF: &str = "still here";

/// An open WebSocket of the client, on one of the two ways.
#[derive(Debug)]
pub(super) struct SilentClient {
    way: DemoWay,
    socket: WebSocketStream<TcpStream>,
}

impl SilentClient {
    /// Opens a WebSocket at `address`.
    ///
    /// # Errors
    /// The handshake fails, or takes longer than 5 s.
    pub(super) async fn open(way: DemoWay, address: SocketAddr) -> tungstenite::Result<Self> {
        let opening = async {
            let stream = TcpStream::connect(address).await?;
            client_async(format!("ws://{address}/ws"), stream).await
        };
        let (socket, _) = timeout(OPEN_WITHIN, opening).await.map_err(std::io::Error::from)??;
        Ok(Self { way, socket })
    }

    /// Stays silent, answers Pings, and reports to `events` until the WebSocket ends.
    ///
    /// When `prove` fires, the client sends one message. When the message comes back, the client closes with 1000 and reports
    /// no end.
    pub(super) async fn stay(mut self, events: mpsc::Sender<(DemoWay, Event)>, mut prove: oneshot::Receiver<()>) {
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
            // If nobody listens any more, there is nobody to tell.
            let _ = events.send((self.way, event)).await;
            match event {
                Event::PingAnswered => {}
                Event::Echoed => return self.close().await,
                Event::Ended(_) => return,
            }
        }
    }

    /// Makes the close handshake, to the end of the stream. Its outcome does not matter, because the proof is made.
    async fn close(mut self) {
        let bye = CloseFrame { code: CloseCode::Normal, reason: "demo over".into() };
        if self.socket.close(Some(bye)).await.is_ok() {
            while let Some(Ok(_)) = self.socket.next().await {}
        }
    }
}
