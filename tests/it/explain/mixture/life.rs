//! The life of one session of a simulated log: its messages, our Pings, and what ends it first.

use super::{Evil, Manner, Place, ROUTES, World, address, time};

/// How long `pong_timeout` is for clients and for backends.
const PATIENCE: [f64; 2] = [30.0, 300.0];
/// When the kernel gives up what nobody acknowledges (`tcp.user_timeout`).
const USER_TIMEOUT: f64 = 30.0;
const LOST: [&str; 2] = ["client_lost", "backend_lost"];
const DEAD: [&str; 2] = ["client_dead", "backend_dead"];

/// A side of a session: what passed, and what became of its path.
#[derive(Debug, Clone, Copy, Default)]
struct Half {
    last_from: f64,
    last_to: f64,
    last_ping: f64,
    pings: u32,
    has_answered: bool,
    /// The path forgot the session, or the side fell asleep.
    is_gone: bool,
    /// Why.
    truth: Option<usize>,
    /// When bytes were first sent after that, and when the first Ping was.
    unacknowledged: Option<f64>,
    asked: Option<f64>,
}

/// How a session ended.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) at: f64,
    cause: &'static str,
    how: &'static str,
    /// The truth that it may show.
    pub(super) truth: Option<usize>,
}

/// A session, from its begin to its end.
pub(super) struct Life {
    pub(super) ending: Ending,
    halves: [Half; 2],
    messages: u32,
}

/// What happens next.
#[derive(Clone, Copy)]
enum Step {
    Message,
    Ping(usize),
    /// A side has answered no Ping.
    Dead(usize),
    /// The kernel gives up a side.
    TimedOut(usize),
    /// A limit of silence, by its number, on the path of a side.
    Limit(usize, usize),
    /// The end that was fixed from the begin.
    Fixed,
    Sleep,
}

/// The line of a session that was silent from its begin, and that its client left without a Close.
pub(super) fn left(begin: f64, age: f64, place: &Place, client: &str) -> String {
    let (route, backend) = (ROUTES[place.route.unwrap_or_default()], address(place.backend.unwrap_or_default()));
    let silence = age * 1000.0;
    format!(
        "{{\"time\":\"{}\",\"kind\":\"session\",\"client\":\"{client}\",\"route\":\"{route}\",\"backend\":\"{backend}\",\"status\":101,\
         \"duration_ms\":{silence:.3},\"frames_to_backend\":1,\"frames_to_client\":1,\"pings_client\":0,\"pings_backend\":0,\"how\":\"fin\",\
         \"silence_from_client_ms\":{silence:.0},\"silence_from_backend_ms\":{silence:.0},\"silence_to_client_ms\":{silence:.0},\
         \"silence_to_backend_ms\":{silence:.0},\"initiator\":\"client\",\"cause\":\"client_lost\",\"clean\":false}}",
        time(begin),
    )
}

impl Life {
    /// Whether the record shows the cause.
    pub(super) fn shows(&self, evil: Option<Evil>, is_new: bool) -> bool {
        match evil {
            // What the kernel gave up before our Ping, the records do not tell from other losses.
            Some(Evil::Idle { manner: Manner::Silent, .. } | Evil::Sleep { .. }) => DEAD.contains(&self.ending.cause),
            Some(Evil::Idle { .. }) => is_new,
            _ => true,
        }
    }
}

impl Half {
    /// Bytes go to the side.
    fn send(&mut self, now: f64) {
        self.last_to = now;
        if self.is_gone {
            self.unacknowledged.get_or_insert(now);
        }
    }

    fn ping_due(&self, wait: f64) -> f64 {
        self.last_from.min(self.last_to).max(self.last_ping) + wait
    }
}

impl World {
    /// Lets a session live to its end.
    pub(super) fn live(&mut self, begin: f64, evils: &[(usize, Evil)]) -> Life {
        let rtt = self.dice.between(0.005, 0.2);
        let gap = self.dice.pick(&[4.0, 20.0, 45.0, 90.0, 400.0]) * self.dice.between(0.7, 1.4);
        // Some programs send at fixed times, and nothing else.
        let beat = self.dice.one_in(6.0).then(|| self.dice.pick(&[10.0, 30.0]));
        let (mut fixed, sleep) = (self.fixed(begin, evils), self.sleep(begin, evils));
        let late = self.dice.share();
        let fresh = Half { last_from: begin, last_to: begin, last_ping: begin, ..Half::default() };
        let (mut halves, mut messages) = ([fresh, fresh], 0);
        let (mut wait, mut message) = (self.wait(), begin + self.dice.exponential(gap));
        loop {
            let mut next = (message, Step::Message);
            let mut consider = |at: f64, step: Step| {
                if at < next.0 {
                    next = (at, step);
                }
            };
            consider(fixed.at, Step::Fixed);
            if let Some((at, _)) = sleep.filter(|_| !halves[0].is_gone) {
                consider(at, Step::Sleep);
            }
            for (side, half) in halves.iter().enumerate() {
                consider(half.ping_due(wait), Step::Ping(side));
                consider(half.asked.map_or(f64::INFINITY, |asked| asked + PATIENCE[side]), Step::Dead(side));
                // Its timer is that of a retransmission, and a little late.
                let given_up =
                    half.unacknowledged.map_or(f64::INFINITY, |sent| sent + USER_TIMEOUT + 0.05 + 0.3 * late);
                consider(given_up, Step::TimedOut(side));
            }
            for (number, evil) in evils {
                if let Evil::Idle { end, seconds, counts_from, jitter, .. } = *evil {
                    let half = &halves[end as usize];
                    let last = if counts_from { half.last_from.max(half.last_to) } else { half.last_to };
                    if !half.is_gone {
                        consider(last + seconds * (1.0 + jitter * late), Step::Limit(*number, end as usize));
                    }
                }
            }
            let (now, step) = next;
            let end = |cause, how, truth| Ending { at: now, cause, how, truth };
            let ending = match step {
                Step::Message => {
                    message = now + beat.unwrap_or_else(|| self.dice.exponential(gap).max(0.01));
                    let from = if beat.is_some() { 1 } else { self.dice.below(2) };
                    if !halves[from].is_gone {
                        halves[from].last_from = now;
                        halves[1 - from].send(now);
                        messages += 1;
                    }
                    continue;
                }
                Step::Ping(side) => {
                    wait = self.wait();
                    let half = &mut halves[side];
                    half.send(now);
                    half.last_ping = now;
                    half.pings += 1;
                    if half.is_gone {
                        half.asked.get_or_insert(now);
                    } else {
                        half.last_from = now + rtt;
                        half.has_answered = true;
                    }
                    continue;
                }
                Step::Sleep => {
                    (halves[0].is_gone, halves[0].truth) = (true, sleep.and_then(|(_, truth)| truth));
                    continue;
                }
                Step::Limit(number, side) => match evils.iter().find(|(other, _)| *other == number) {
                    Some((_, Evil::Idle { manner: Manner::Silent, .. })) => {
                        (halves[side].is_gone, halves[side].truth) = (true, Some(number));
                        continue;
                    }
                    Some((_, Evil::Idle { manner: Manner::Reset, .. })) => end(LOST[side], "reset", Some(number)),
                    _ => end(LOST[side], "fin", Some(number)),
                },
                Step::TimedOut(side) => end(LOST[side], "timed_out", halves[side].truth),
                Step::Dead(side) => end(DEAD[side], "silent", halves[side].truth),
                // Nobody hears what the client does.
                Step::Fixed if halves[0].is_gone && fixed.cause.starts_with("client") => {
                    fixed.at = f64::INFINITY;
                    continue;
                }
                Step::Fixed => end(fixed.cause, fixed.how, fixed.truth),
            };
            return Life { ending, halves, messages };
        }
    }

    /// The next wait for a Ping, with the jitter of `ws/keepalive`.
    fn wait(&mut self) -> f64 {
        if self.interval > 0.0 { self.interval * self.dice.between(0.9, 0.99) } else { f64::INFINITY }
    }

    /// How the session would end if it were not for silence: as its people want, or by the first of the causes.
    fn fixed(&mut self, begin: f64, evils: &[(usize, Evil)]) -> Ending {
        let natural = begin + (300.0 * (1.2 * self.dice.normal()).exp()).clamp(2.0, 20_000.0);
        let (cause, how) = match self.dice.share() {
            share if share < 0.82 => ("client_close", "close"),
            share if share < 0.92 => ("backend_close", "close"),
            share if share < 0.96 => ("client_lost", "fin"),
            share if share < 0.985 => ("client_lost", "reset"),
            share if share < 0.99 => ("backend_lost", "fin"),
            share if share < 0.997 => ("lifetime", "ours"),
            share if share < 0.9995 => ("client_breach", "ours"),
            _ => ("killed", "ours"),
        };
        let mut first = Ending { at: natural, cause, how, truth: None };
        for (number, evil) in evils {
            let found = match *evil {
                Evil::Life { end, seconds, manner, jitter } => {
                    let how = if manner == Manner::Reset { "reset" } else { "fin" };
                    Some((begin + seconds * (1.0 + jitter * self.dice.share()), LOST[end as usize], how))
                }
                Evil::Crash { at } if begin < at => Some((at + self.dice.between(0.0, 0.8), "backend_lost", "reset")),
                Evil::Drain { at } if begin < at => Some((at + self.dice.between(0.0, 2.0), "drain", "ours")),
                Evil::BadNetwork { mean } => Some((begin + self.dice.exponential(mean), "client_lost", "reset")),
                Evil::Slow { odds } if self.dice.one_in(odds) => Some((natural, "memory", "ours")),
                Evil::Limit { cause, odds } if self.dice.one_in(odds) => Some((natural, cause, "ours")),
                _ => None,
            };
            if let Some((at, cause, how)) = found.filter(|(at, ..)| *at <= first.at) {
                first = Ending { at, cause, how, truth: Some(*number) };
            }
        }
        first
    }

    /// When the client falls asleep, and why.
    fn sleep(&mut self, begin: f64, evils: &[(usize, Evil)]) -> Option<(f64, Option<usize>)> {
        let at = begin + self.dice.exponential(200.0);
        let sleeper = |(_, evil): &&(usize, Evil)| matches!(evil, Evil::Sleep { .. });
        let (number, odds) = match evils.iter().find(sleeper) {
            Some((number, Evil::Sleep { odds })) => (Some(*number), *odds),
            // A few always do.
            _ => (None, 2000.0),
        };
        self.dice.one_in(odds).then_some((at, number))
    }

    /// The line of a session, and whether it has all fields.
    pub(super) fn record(&mut self, begin: f64, place: &Place, life: &Life) -> (String, bool) {
        let Life { ending, halves: [client, backend], messages } = life;
        let is_new = !self.is_old();
        let ms = |since: f64| (ending.at - since).max(0.0) * 1000.0;
        let silences = if is_new {
            format!(
                "\"how\":\"{}\",\"silence_from_client_ms\":{:.0},\"silence_from_backend_ms\":{:.0},\"silence_to_client_ms\":{:.0},\
                 \"silence_to_backend_ms\":{:.0},",
                ending.how,
                ms(client.last_from),
                ms(backend.last_from),
                ms(client.last_to),
                ms(backend.last_to)
            )
        } else {
            String::new()
        };
        let answered =
            |half: &Half, field: &str| if half.has_answered { format!("\"{field}\":21.5,") } else { String::new() };
        let rtts = [answered(client, "rtt_last_ms"), answered(backend, "rtt_backend_last_ms")].concat();
        let initiator = match ending.cause {
            cause if cause.ends_with("_dead") || ending.how == "ours" => "proxy",
            cause if cause.starts_with("client") => "client",
            _ => "backend",
        };
        let address_of_client = self.client(place);
        let line = format!(
            "{{\"time\":\"{}\",\"kind\":\"session\",\"request_id\":\"{:032x}\",\"client\":\"{address_of_client}\",\"tls\":\"TLSv1.3\",\
             \"host\":\"chat.example.com\",\"method\":\"GET\",\"path\":\"/ws/room\",\"route\":\"{}\",\"upstream\":\"chat\",\
             \"backend\":\"{}\",\"tries\":1,\"status\":101,\"connect_ms\":0.4,\"handshake_ms\":2.1,\"duration_ms\":{:.3},\
             \"bytes_to_backend\":{},\"bytes_to_client\":{},\"frames_to_backend\":{},\"frames_to_client\":{},\
             \"messages_to_backend\":{},\"messages_to_client\":{},\"pings_client\":{},\"pings_backend\":{},{rtts}{silences}\
             \"initiator\":\"{initiator}\",\"cause\":\"{}\",\"clean\":false}}",
            time(begin),
            self.dice.next(),
            ROUTES[place.route.unwrap_or_default()],
            address(place.backend.unwrap_or_default()),
            ms(begin),
            messages * 30,
            messages * 40,
            messages / 2,
            messages.div_ceil(2),
            messages / 2,
            messages.div_ceil(2),
            client.pings,
            backend.pings,
            ending.cause,
        );
        (line, is_new)
    }
}
