//! Properties that hold for every script.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::ws::frame::Breach;

/// All that an end sends: frames, then perhaps a breach.
#[derive(Debug, Clone)]
struct Stream {
    frames: Vec<Vec<u8>>,
    breach: Option<(Vec<u8>, Breach)>,
}

impl Stream {
    fn bytes(&self) -> Vec<u8> {
        [self.frames.concat(), self.breach.clone().map(|(bytes, _)| bytes).unwrap_or_default()].concat()
    }

    /// Whether a frame ends at this position.
    fn has_boundary_at(&self, position: usize) -> bool {
        let mut end = 0;
        position == 0
            || self.frames.iter().any(|frame| {
                end += frame.len();
                end == position
            })
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn side() -> impl Strategy<Value = Side> {
    select(&[Client, Backend])
}

fn stream(from: Side, lengths: impl Strategy<Value = usize>) -> impl Strategy<Value = Stream> {
    let frames = vec((0..6u8, lengths, any::<u8>()), 0..10);
    (frames, prop::option::weighted(0.3, any::<prop::sample::Index>()), prop::option::weighted(0.3, ".{0,30}"))
        .prop_map(move |(pieces, breach, reason)| {
            let mut fragmented = false;
            let mut frames: Vec<_> = pieces
                .into_iter()
                .map(|(kind, length, byte)| match kind {
                    0 => frame(from, 0x89, &vec![byte; length.min(125)]),
                    1 => frame(from, 0x8A, &vec![byte; length.min(125)]),
                    _ => {
                        let first = if fragmented { 0x00 } else { 0x01 + (byte & 1) };
                        fragmented = kind == 2;
                        frame(from, first | if fragmented { 0 } else { 0x80 }, &vec![byte; length])
                    }
                })
                .collect();
            let breach = breach.map(|index| index.get(&breaches(from, fragmented)).clone());
            if let (None, Some(reason)) = (&breach, reason) {
                let end = (0..=100.min(reason.len())).rfind(|end| reason.is_char_boundary(*end)).unwrap();
                frames.push(close(from, 4000, &reason[..end]));
            }
            Stream { frames, breach }
        })
}

/// All breaches, each behind a whole message or inside a fragmented one, and with bytes behind it.
fn breaches(from: Side, fragmented: bool) -> Vec<(Vec<u8>, Breach)> {
    let by_side = if from == Client { Breach::Unmasked } else { Breach::Masked };
    let by_order = if fragmented {
        (frame(from, 0x81, b"new"), Breach::InterruptedMessage)
    } else {
        (frame(from, 0x80, b"more"), Breach::StrayContinuation)
    };
    let data = if fragmented { 0x00 } else { 0x02 };
    let mut all = vec![
        (frame(from, data | 0xC0, b"rsv"), Breach::ReservedBits),
        (frame(from, 0x83, b""), Breach::ReservedOpcode),
        (frame(from, 0x09, b"part"), Breach::FragmentedControl),
        (frame(from, 0x89, &[0; 126]), Breach::LongControl),
        (frame(from.other(), data, b"from the wrong side"), by_side),
        by_order,
    ];
    let mask = frame(from, data, b"")[1];
    all.push(([&[data, mask | 127, 0xFF][..], &[0; 11]].concat(), Breach::LengthTopBit));
    for (bytes, _) in &mut all {
        bytes.extend(frame(from, 0x82, b"behind the breach"));
    }
    all
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn any_split_of_the_bytes_gives_the_same_frames_and_the_same_breach(
        (from, stream) in side().prop_flat_map(|from| {
            let lengths = prop_oneof![
                4 => 0..20usize,
                2 => select(&[124, 125, 126, 127, 65535, 65536, 65537]),
                1 => 0..70_000usize,
            ];
            (Just(from), stream(from, lengths))
        }),
        chunks in vec(prop_oneof![1..4usize, 1..200usize, 1..70_000usize], 1..20),
        splices in any::<bool>(),
    ) {
        let bytes = stream.bytes();
        let mut pair = Pair { splices, ..Pair::new(&SILENT) };
        let (mut rest, mut chunks) = (&bytes[..], chunks.iter().cycle());
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(*chunks.next().unwrap()));
            pair.sends(from, chunk);
            rest = after;
        }
        let expected = stream.frames.concat();
        let passed = &pair.taken(from.other()).0[..expected.len()];
        prop_assert!(passed == expected);
        match stream.breach {
            Some((_, breach)) => prop_assert_eq!(pair.ended().3, breach.as_str()),
            None => prop_assert_eq!(pair.taken(from.other()).0.len(), expected.len()),
        }
        prop_assert_eq!(pair.session.counts(from).bytes, expected.len() as u64);
        prop_assert_eq!(pair.session.counts(from).frames, stream.frames.len() as u64);
    }
}

/// Something that happens to a session.
#[derive(Debug, Clone)]
enum Event {
    Sends(Side, usize),
    AnswersOurPing(Side),
    Fin(Side),
    Resets(Side),
    Breaks(Side),
    Takes(Side, usize),
    TakesAll(Side),
    Waits(Duration),
    WaitsForTimeout,
    Drains,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => (side(), 1..60usize).prop_map(|(side, length)| Event::Sends(side, length)),
        5 => side().prop_map(Event::AnswersOurPing),
        1 => side().prop_map(Event::Fin),
        1 => side().prop_map(Event::Resets),
        1 => side().prop_map(Event::Breaks),
        3 => (side(), 0..40usize).prop_map(|(side, room)| Event::Takes(side, room)),
        3 => side().prop_map(Event::TakesAll),
        5 => (0..15_000u64).prop_map(|millis| Event::Waits(Duration::from_millis(millis))),
        5 => Just(Event::WaitsForTimeout),
        1 => Just(Event::Drains),
    ]
}

/// A pair that plays a script of events.
struct Play {
    pair: Pair,
    streams: [Stream; 2],
    sent: [usize; 2],
    /// How many Pings had been sent when the end began.
    pings_at_end: Option<u32>,
}

impl Play {
    fn happen(&mut self, event: &Event) {
        let pair = &mut self.pair;
        match *event {
            Event::Sends(side, length) => self.send(side, length),
            Event::AnswersOurPing(side) => {
                let at_boundary = self.streams[side as usize].has_boundary_at(self.sent[side as usize]);
                if at_boundary && !pair.end(side).fin_sent && pair.frames(side).iter().any(Frame::is_our_ping) {
                    pair.answers_our_ping(side);
                }
            }
            Event::Fin(side) => pair.fin(side),
            Event::Resets(side) => pair.resets(side),
            Event::Breaks(side) => pair.breaks(side),
            Event::Takes(side, room) => pair.takes(side, room),
            Event::TakesAll(side) => pair.takes_all(side),
            Event::Waits(time) => pair.wait(time),
            Event::WaitsForTimeout => {
                if let Some(at) = pair.session.poll_timeout() {
                    pair.wait(at.saturating_duration_since(pair.now));
                }
            }
            Event::Drains => pair.drain(),
        }
        if self.pair.session.termination().is_some() {
            let pings = self.pings();
            self.pings_at_end.get_or_insert(pings);
        }
    }

    fn send(&mut self, side: Side, length: usize) {
        if self.pair.end(side).fin_sent {
            return;
        }
        let bytes = self.streams[side as usize].bytes();
        let sent = &mut self.sent[side as usize];
        let chunk = &bytes[*sent..bytes.len().min(*sent + length)];
        *sent += chunk.len();
        self.pair.sends(side, chunk);
    }

    fn pings(&self) -> u32 {
        self.pair.session.round_trips(Client).pings + self.pair.session.round_trips(Backend).pings
    }

    /// Checks that an end got the other end's frames in order and once, and of ours only Pings between them and a Close
    /// as the last frame. Returns how many bytes came from the other end, and whether the last frame is a Close or half
    /// a frame.
    fn check(&self, to: Side) -> (usize, bool) {
        let (mut rest, _) = self.pair.taken(to);
        let mut theirs = self.streams[to.other() as usize].frames.iter().peekable();
        let mut passed = 0;
        while !rest.is_empty() {
            let length = match theirs.peek() {
                Some(frame) if frame.starts_with(rest) && frame.len() > rest.len() => {
                    return (passed + rest.len(), true);
                }
                Some(frame) if rest.starts_with(frame) => {
                    passed += frame.len();
                    theirs.next().map_or(0, Vec::len)
                }
                _ => {
                    let Some((frame, length)) = Frame::read(to, rest) else {
                        assert!(!self.pair.taken(to).1, "a FIN inside a frame of ours");
                        return (passed, true);
                    };
                    assert!(frame.is_our_ping() || frame.is_close(), "{frame} is neither theirs nor ours");
                    length
                }
            };
            if Frame::read(to, rest).is_some_and(|(frame, _)| frame.is_close()) {
                assert_eq!(rest.len(), length, "nothing follows a Close");
                return (passed, true);
            }
            rest = &rest[length..];
        }
        (passed, false)
    }
}

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn every_script_ends_in_time_and_passes_what_is_theirs_and_nothing_of_ours(
        settings in select(vec![SILENT, PINGING, SessionSettings { idle: Some(seconds(60)), ..PINGING }]),
        from_client in stream(Client, 0..150usize),
        from_backend in stream(Backend, 0..150usize),
        read in 1..300usize,
        (splices, closes) in any::<(bool, bool)>(),
        buffer in select(vec![0, 20, 1000]),
        events in vec(event(), 0..60),
    ) {
        let mut pair = Pair { read, splices, closes, ..Pair::new(&settings) };
        (pair.client.buffer, pair.backend.buffer) = (buffer, buffer);
        let mut play = Play { pair, streams: [from_client, from_backend], sent: [0, 0], pings_at_end: None };
        for event in &events {
            play.happen(event);
        }
        if play.pair.session.termination().is_none() {
            play.happen(&Event::TakesAll(Client));
            play.happen(&Event::TakesAll(Backend));
        }
        if play.pair.session.termination().is_none() {
            for side in [Client, Backend] {
                let held = play.pair.end(side).kept.len();
                prop_assert_eq!(play.check(side.other()).0 + held, play.sent[side as usize], "nothing is lost");
            }
            // An unanswered Ping of the other end may delay our Ping by one more timeout. Inside a frame there is no
            // place for a Ping.
            play.happen(&Event::Waits(PONG_TIMEOUT * 2));
            let boundary = [Client, Backend].iter().any(|side| {
                play.streams[*side as usize].has_boundary_at(play.sent[*side as usize])
            });
            prop_assert!(settings == SILENT || !boundary || play.pair.session.termination().is_some(), "the silent are dead");
        }
        if play.pair.session.termination().is_some() {
            // The bytes in the kernel may have moved last just before the end of the first wait.
            play.happen(&Event::Waits(CLOSE_TIMEOUT * 2));
            prop_assert!(play.pair.over);
            prop_assert_eq!(play.pings_at_end, Some(play.pings()), "no Ping after the end began");
            let cause = play.pair.ended().1;
            for side in [Client, Backend] {
                let (_, told) = play.check(side);
                let slow = events.iter().any(|event| matches!(event, Event::Takes(to, _) if *to == side));
                let theirs = matches!(cause, Cause::ClientClose | Cause::BackendClose);
                prop_assert!(told || slow || theirs || play.pair.end(side).broken, "{side:?} is told");
            }
        }
    }
}
