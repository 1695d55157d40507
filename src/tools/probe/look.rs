//! The first look at a path: whether it can be probed, and how.

use std::time::Duration;

use hyper::{
    HeaderMap,
    header::{HeaderName, LOCATION, SEC_WEBSOCKET_EXTENSIONS, SERVER, VIA},
};
use tokio::time::{Instant, timeout};

use super::{
    gate::Gate,
    refusal::why,
    socket::{CLOSE_WITHIN, Heard, ProbeAsk, ProbeSocket},
};
use crate::tools::opening::{OpenError, Opener};

/// The subprotocol of an end that obeys.
pub(super) const OBEYING: &str = "longwire-probe.1";
/// The fields of an answer that tell who stands on the path, and where a redirect goes.
const TELLING: [HeaderName; 8] = [
    VIA,
    SERVER,
    LOCATION,
    HeaderName::from_static("cf-ray"),
    HeaderName::from_static("x-amz-cf-id"),
    HeaderName::from_static("x-azure-ref"),
    HeaderName::from_static("x-cache"),
    HeaderName::from_static("x-served-by"),
];
/// How much longer than the first answer the second one may take, if both questions go out together.
const SLOWER: u32 = 20;
/// The least that the second answer may take.
const LEAST: Duration = Duration::from_secs(1);

/// The answer to the handshake.
#[derive(Debug, Clone, Default)]
pub(super) struct HandshakeSeen {
    /// `None` = there was no answer.
    pub(super) status: Option<u16>,
    /// The extensions that were agreed on, as they came; `None` = none could be.
    pub(super) extensions: Option<String>,
    /// The subprotocol that was agreed on; empty = none was; `None` = none was offered.
    pub(super) subprotocol: Option<String>,
    /// The fields that tell who stands on the path.
    pub(super) telling: Vec<(String, String)>,
    /// Why it is no WebSocket.
    pub(super) error: Option<String>,
}

/// What the other end answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FirstLook {
    /// Whether its Pongs come; `None` = not tested.
    pub(super) pongs: Option<bool>,
    /// Whether it answers messages by messages.
    pub(super) answers: bool,
    /// Whether these are the same: it is an echo.
    pub(super) echoes: bool,
    /// Whether it obeys orders.
    pub(super) obeys: bool,
}

impl FirstLook {
    /// The question after a silence; `None` = nothing is answered.
    pub(super) const fn ask(self) -> Option<ProbeAsk> {
        match self {
            Self { pongs: Some(true), .. } => Some(ProbeAsk::Ping),
            Self { echoes: true, obeys: true, .. } => Some(ProbeAsk::Binary),
            Self { echoes: true, .. } => Some(ProbeAsk::Text),
            Self { answers: true, .. } => Some(ProbeAsk::Answer),
            Self { .. } => None,
        }
    }

    /// The questions of a socket that is never silent: all that are answered.
    pub(super) fn busy(self) -> Vec<ProbeAsk> {
        // Who is no echo may pass messages on to people.
        let message = Self { pongs: None, ..self }.ask().filter(|_| self.echoes || self.pongs != Some(true));
        (self.pongs == Some(true)).then_some(ProbeAsk::Ping).into_iter().chain(message).collect()
    }
}

impl HandshakeSeen {
    fn of(fields: &HeaderMap, status: u16) -> Self {
        let text = |name: &HeaderName| {
            let values =
                fields.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            // A terminal obeys control characters.
            values.collect::<Vec<_>>().join(", ").replace(char::is_control, "?")
        };
        let telling = TELLING.map(|name| (name.as_str().to_owned(), text(&name))).into_iter();
        Self {
            status: Some(status),
            telling: telling.filter(|(_, value)| !value.is_empty()).collect(),
            extensions: (status == 101).then(|| text(&SEC_WEBSOCKET_EXTENSIONS)),
            ..Self::default()
        }
    }

    /// Makes one handshake. `offers`: whether it offers a subprotocol.
    pub(super) async fn make(opener: &Opener, gate: &Gate, offers: bool) -> Self {
        let place = gate.pass().await;
        let seen = match opener.open().await {
            Ok(opened) => {
                let chosen = opened.agreed.subprotocol.clone();
                let seen =
                    Self { subprotocol: offers.then(|| chosen.unwrap_or_default()), ..Self::of(&opened.fields, 101) };
                ProbeSocket::new(opened).close(CLOSE_WITHIN).await;
                seen
            }
            Err(error) => Self { error: Some(why(&error)), ..Self::of_failure(&error) },
        };
        drop(place);
        seen
    }

    fn of_failure(error: &OpenError) -> Self {
        match error {
            OpenError::Refused { status, fields, .. } => Self::of(fields, *status),
            OpenError::FalseUpgrade(_) => Self { status: Some(101), ..Self::default() },
            _ => Self::default(),
        }
    }
}

/// Finds out which questions are answered.
///
/// # Errors
/// No socket could be opened.
pub(super) async fn look(opener: &Opener, gate: &Gate, wait: Duration) -> Result<FirstLook, OpenError> {
    let place = gate.pass().await;
    let opened = opener.open().await?;
    let obeys = opened.agreed.subprotocol.as_deref() == Some(OBEYING);
    let mut socket = ProbeSocket::new(opened);
    let mut look = FirstLook { obeys, ..questions(&mut socket, obeys, wait).await };
    if look.obeys && look.pongs == Some(true) {
        look.pongs = Some(!is_answered_on_the_way(&mut socket, wait).await);
    }
    socket.close(CLOSE_WITHIN).await;
    if look.pongs.is_none() {
        // It ended at our message, so it is no echo. A Ping alone may be answered.
        gate.turn().await;
        let mut socket = ProbeSocket::new(opener.open().await?);
        look.pongs = Some(socket.ask(ProbeAsk::Ping, wait).await.is_ok());
        socket.close(CLOSE_WITHIN).await;
    }
    drop(place);
    Ok(look)
}

/// Asks by a Ping and by a message.
async fn questions(socket: &mut ProbeSocket, binary: bool, wait: Duration) -> FirstLook {
    let asked = Instant::now();
    let payload = socket.ping();
    let text = socket.text(binary);
    let (mut pong, mut answer, mut echo, mut ended) = (false, false, false, false);
    let mut until = asked + wait;
    while !(pong && echo || ended) {
        let Ok(heard) = tokio::time::timeout_at(until, socket.hear()).await else { break };
        match heard {
            Heard::Pong(frame) => pong |= frame.payload() == payload,
            Heard::Message { start, .. } => (answer, echo) = (true, echo || start == text),
            Heard::Ended(..) => ended = true,
        }
        // The other answer is on its way, or never comes.
        until = until.min(Instant::now() + (asked.elapsed() * SLOWER).max(LEAST));
    }
    if answer && !echo && !ended {
        // It may have been a greeting.
        answer = pong || socket.ask(ProbeAsk::Answer, LEAST.min(wait)).await.is_ok();
    }
    FirstLook { pongs: (pong || !ended).then_some(pong), answers: answer, echoes: echo, obeys: false }
}

/// Whether the other end closes a connection when another one is opened, as ends do that want one connection of each user.
/// A path may end one by chance, so two are seen.
///
/// # Errors
/// No socket could be opened.
pub(super) async fn displaces_others(opener: &Opener, gate: &Gate, wait: Duration) -> Result<bool, OpenError> {
    for _ in 0..2 {
        let place = gate.pass().await;
        let mut first = ProbeSocket::new(opener.open().await?);
        let next_place = gate.pass().await;
        let next = ProbeSocket::new(opener.open().await?);
        let asked = first.ask(ProbeAsk::Ping, LEAST.min(wait)).await;
        first.close(CLOSE_WITHIN).await;
        next.close(CLOSE_WITHIN).await;
        drop((place, next_place));
        if asked.is_ok() || asked.is_err_and(|death| death.is_silent()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a Ping is answered though the other end is told to answer none.
async fn is_answered_on_the_way(socket: &mut ProbeSocket, wait: Duration) -> bool {
    socket.message(false, b"mute");
    let told = async {
        loop {
            match socket.hear().await {
                Heard::Message { start, .. } if start.starts_with(b"ok") => return true,
                Heard::Message { .. } | Heard::Ended(..) => return false,
                Heard::Pong(_) => {}
            }
        }
    };
    matches!(timeout(wait, told).await, Ok(true)) && socket.ask(ProbeAsk::Ping, LEAST.min(wait)).await.is_ok()
}
