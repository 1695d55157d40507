//! The client's end of the protocol that brings a client back to its session, written after docs/resume.md alone.

use serde_json::Value;

use super::{
    Head, Wire,
    frames::{BINARY, END, Frame, MIDDLE, PING, TEXT, TEXT_BEGIN, masked},
    handshake, within,
};

/// The subprotocol of the protocol.
pub const RESUME: &str = "longwire.resume.v1";

/// A client that may come back to its session. It gives messages to the test, as a library gives them to its page.
pub struct Library {
    pub wire: Wire,
    /// The last hello.
    pub hello: Value,
    /// Of the last attempt.
    attempt: u64,
    /// Messages that the test was given.
    given: u64,
    /// The messages that longwire has not acknowledged, as frames, and how many came before them.
    unacknowledged: (u64, Vec<Vec<u8>>),
    /// The message whose first frames have come.
    begun: Option<Vec<u8>>,
    /// Bodies of control texts that were no numbers.
    pub told: Vec<String>,
}

impl Library {
    /// Offers the protocol behind these subprotocols on a new connection.
    pub async fn offer(wire: &mut Wire, path: &str, subprotocols: &str) {
        let more = format!("Sec-WebSocket-Protocol: {subprotocols}{RESUME}\r\n");
        wire.send(handshake(path, &more)).await;
    }

    /// A new session, of which the 101 comes next.
    pub async fn greeted(mut wire: Wire) -> Self {
        let hello = hello(&mut wire).await;
        assert_eq!((&hello["resume"], &hello["resumed"], &hello["received"]), (&"on".into(), &false.into(), &0.into()));
        let (unacknowledged, begun, told) = ((0, Vec::new()), None, Vec::new());
        Self { wire, hello, attempt: 0, given: 0, unacknowledged, begun, told }
    }

    pub fn secret(&self) -> &str {
        self.hello["secret"].as_str().unwrap()
    }

    pub fn token(&self) -> &str {
        self.hello["token"].as_str().unwrap()
    }

    /// The fields of the next attempt.
    pub fn attempt(&mut self) -> String {
        self.attempt += 1;
        self.attempt_with(self.attempt, self.given)
    }

    pub fn attempt_with(&self, attempt: u64, count: u64) -> String {
        format!("Sec-WebSocket-Protocol: {RESUME}, {RESUME}.{}.{attempt}.{count}\r\n", self.token())
    }

    /// Comes back on a new connection, as the library does it: what was not acknowledged is sent again.
    pub async fn come_back(&mut self, wire: Wire) {
        self.come_back_by(wire, "").await;
    }

    /// The same with further fields.
    pub async fn come_back_by(&mut self, mut wire: Wire, more: &str) {
        let attempt = self.attempt();
        wire.send(handshake("/ws", &(attempt + more))).await;
        let hello = hello(&mut wire).await;
        assert_eq!((&hello["resumed"], &hello["token"]), (&true.into(), &self.hello["token"]), "{hello}");
        self.wire = wire;
        self.begun = None;
        self.note_acknowledged(hello["received"].as_u64().unwrap());
        self.hello = hello;
        for message in self.unacknowledged.1.clone() {
            self.wire.send(message).await;
        }
    }

    /// Sends a message, and keeps it until longwire acknowledges it.
    pub async fn send(&mut self, message: impl Into<Vec<u8>>) {
        let message = message.into();
        self.unacknowledged.1.push(message.clone());
        self.wire.send(message).await;
    }

    /// The same with a message that the connection takes only a part of, or nothing.
    pub async fn send_part(&mut self, message: impl Into<Vec<u8>>, length: usize) {
        let message = message.into();
        self.unacknowledged.1.push(message.clone());
        self.wire.send(&message[..length]).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.send(masked(TEXT, text)).await;
    }

    /// Tells how many messages the test was given.
    pub async fn acknowledge(&mut self) {
        self.acknowledge_as(self.given).await;
    }

    pub async fn acknowledge_as(&mut self, count: u64) {
        let text = format!("{}{count}", self.secret());
        self.wire.send(masked(TEXT, text)).await;
    }

    /// The next message, which is for the page.
    pub async fn message(&mut self) -> Vec<u8> {
        within("a message", async {
            loop {
                let frame = self.wire.next_frame().await.expect("a frame before the stream ends");
                if let Some(message) = self.take(frame) {
                    return message;
                }
            }
        })
        .await
    }

    pub async fn expect_text(&mut self, text: &str) {
        let message = self.message().await;
        assert_eq!(String::from_utf8_lossy(&message), text);
    }

    /// Waits until longwire has acknowledged everything.
    pub async fn until_acknowledged(&mut self) {
        within("an acknowledgement", async {
            while !self.unacknowledged.1.is_empty() {
                let frame = self.wire.next_frame().await.expect("a frame before the stream ends");
                assert_eq!(self.take(frame), None, "a message");
            }
        })
        .await;
    }

    /// Waits for the next control text.
    pub async fn control_text(&mut self) -> String {
        let frame = self.wire.frame().await;
        assert!(frame.first == TEXT && frame.payload.starts_with(self.secret().as_bytes()), "{frame:?}");
        let body = String::from_utf8(frame.payload[self.secret().len()..].to_vec()).unwrap();
        self.take(frame);
        body
    }

    /// Takes a frame. Returns the message that it ends.
    fn take(&mut self, frame: Frame) -> Option<Vec<u8>> {
        let Frame { first, masked, payload } = frame;
        assert!(!masked, "a frame for a client");
        match first {
            TEXT if payload.len() <= 125 && payload.starts_with(self.secret().as_bytes()) => {
                assert!(self.begun.is_none(), "a control text within a message");
                let body = String::from_utf8(payload[self.secret().len()..].to_vec()).unwrap();
                match body.parse() {
                    Ok(count) => self.note_acknowledged(count),
                    Err(_) => self.told.push(body),
                }
                None
            }
            TEXT | BINARY => {
                assert!(self.begun.is_none(), "a message within a message");
                self.given += 1;
                Some(payload)
            }
            TEXT_BEGIN => {
                assert!(self.begun.replace(payload).is_none(), "a message within a message");
                None
            }
            MIDDLE => {
                self.begun.as_mut().expect("the begin of this message").extend(payload);
                None
            }
            END => {
                self.given += 1;
                let mut message = self.begun.take().expect("the begin of this message");
                message.extend(payload);
                Some(message)
            }
            // A page sees no Pings.
            PING => None,
            _ => panic!("neither a message nor a control text: {first:#x} {payload:?}"),
        }
    }

    fn note_acknowledged(&mut self, count: u64) {
        let (before, messages) = &mut self.unacknowledged;
        let new = count.checked_sub(*before).expect("a count that grows");
        let new = usize::try_from(new).unwrap();
        assert!(new <= messages.len(), "{count} acknowledged, {before} and {} sent", messages.len());
        messages.drain(..new);
        *before = count;
    }
}

/// Reads a 101 and the hello behind it.
pub async fn hello(wire: &mut Wire) -> Value {
    let head = wire.upgraded().await;
    assert_chosen(&head);
    let frame = wire.frame().await;
    assert!(frame.first == TEXT && !frame.masked && frame.payload.len() <= 2048, "{frame:?}");
    let hello: Value = serde_json::from_slice(&frame.payload).unwrap();
    assert_eq!(hello["longwire"], 1, "{hello}");
    hello
}

fn assert_chosen(head: &Head) {
    assert_eq!(head.header("sec-websocket-protocol"), Some(RESUME));
    assert_eq!(head.header("sec-websocket-extensions"), None);
}
