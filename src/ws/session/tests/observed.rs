//! What is noted of the frames of a session that somebody observes.

use super::*;
use crate::ws::{
    frame,
    session::{MOST_SEEN, SeenFrame},
};

fn observed(settings: &SessionSettings) -> Pair {
    let mut pair = Pair::new(settings);
    pair.session.observe(Some(pair.now + seconds(3600)));
    pair
}

pub(super) fn seen(pair: &mut Pair) -> Vec<SeenFrame> {
    pair.session.take_seen().map(|(seen, missed)| (seen, assert_eq!(missed, 0)).0).unwrap_or_default()
}

/// Each frame in short, such as `client 1. text masked 5 relayed`.
pub(super) fn told(seen: &[SeenFrame]) -> Vec<String> {
    let tell = |SeenFrame { to, passage, header, close }: &SeenFrame| {
        let frame::FrameHeader { fin, rsv, opcode, mask, length } = header;
        let masked = if mask.is_some() { "masked" } else { "bare" };
        let fin = if *fin { "fin" } else { "open" };
        let close = close.as_ref().map(|close| format!(" {:?} {}", close.code.map(|code| code.0), close.reason));
        let (to, opcode, close) = (to.as_str(), opcode.as_str(), close.unwrap_or_default());
        format!("{to} {fin} {rsv} {opcode} {masked} {length} {}{close}", passage.as_str())
    };
    seen.iter().map(tell).collect()
}

#[test]
fn each_frame_is_noted_once_with_its_header_however_it_is_cut() {
    for read in [1, 3, 64 * 1024] {
        let mut pair = observed(&SessionSettings { extensions: true, ..SILENT });
        pair.read = read;
        pair.sends(Client, [frame(Client, 0x41, b"secret"), ping(Client, "p"), frame(Client, 0x80, b"")].concat());
        pair.sends(Backend, frame(Backend, 0x82, &[7; 300]));
        pair.sends(Backend, close(Backend, 4001, "bye"));
        let seen = seen(&mut pair);
        assert_eq!(
            told(&seen),
            [
                "backend open 4 text masked 6 relayed",
                "backend fin 0 ping masked 1 relayed",
                "backend fin 0 continuation masked 0 relayed",
                "client fin 0 binary bare 300 relayed",
                "client fin 0 close bare 5 relayed Some(4001) bye",
            ],
            "{read} bytes a read"
        );
        assert!(seen.iter().all(|seen| seen.header.mask.unwrap_or_default() == [0; 4]), "a key would undo the mask");
    }
}

#[test]
fn frames_of_ours_and_what_answers_them_are_marked() {
    let mut pair = observed(&PINGING);
    pair.wait(PING_INTERVAL);
    pair.answers_our_ping(Client);
    pair.kill(4003, "signed out");
    pair.sends(Client, close(Client, 4003, ""));
    let seen = seen(&mut pair);
    let told = told(&seen);
    for expected in [
        "client fin 0 ping bare 12 injected",
        "backend fin 0 ping masked 12 injected",
        "backend fin 0 pong masked 12 swallowed",
        "client fin 0 close bare 12 injected Some(4003) signed out",
        "backend fin 0 close masked 12 injected Some(4003) signed out",
        "backend fin 0 close masked 2 swallowed Some(4003) ",
    ] {
        assert_eq!(told.iter().filter(|told| *told == expected).count(), 1, "{expected}: {told:?}");
    }
    assert_eq!(told.len(), 6, "{told:?}");
}

#[test]
fn the_frame_that_breaks_the_protocol_is_seen_and_no_payload_is_taken_for_one() {
    let mut pair = observed(&SILENT);
    pair.sends(Client, frame(Backend, 0x81, b"bare"));
    assert_eq!(told(&seen(&mut pair))[0], "backend fin 0 text bare 4 refused");

    let mut pair = observed(&SessionSettings {
        limits: MessageLimits { bytes: crate::ws::rate::Rate::per_second(20), ..MessageLimits::NONE },
        ..SILENT
    });
    // The second read breaks the rate, inside a payload that looks like a header.
    let message = [&[0x82, 0x80 | 100, 1, 2, 3, 4][..], &[0x81; 100]].concat();
    pair.sends(Client, &message[..10]);
    pair.sends(Client, &message[10..]);
    let told = told(&seen(&mut pair));
    assert_eq!(told[0], "backend fin 0 binary masked 100 relayed");
    assert_eq!(told[1..], ["client fin 0 close bare 27 injected Some(1008) too many bytes per second"]);
}

#[test]
fn nobody_looks_before_it_is_told_to_nor_after_its_time_nor_once_it_is_taken_back() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, message(Client, "before"));
    assert_eq!(pair.session.take_seen(), None);
    pair.session.observe(Some(pair.now + seconds(10)));
    pair.wait(seconds(9));
    pair.sends(Client, message(Client, "in"));
    pair.wait(seconds(1));
    pair.sends(Client, message(Client, "after"));
    assert_eq!(told(&seen(&mut pair)), ["backend fin 0 text masked 2 relayed"]);
    pair.session.observe(Some(pair.now + seconds(10)));
    pair.session.observe(None);
    pair.sends(Client, message(Client, "off"));
    assert_eq!(pair.session.take_seen(), None);
}

#[test]
fn what_nobody_takes_is_bounded_and_the_rest_is_counted() {
    let mut pair = observed(&SILENT);
    pair.sends(Backend, message(Backend, "").repeat(MOST_SEEN + 7));
    let (seen, missed) = pair.session.take_seen().unwrap();
    assert_eq!((seen.len(), missed), (MOST_SEEN, 7));
    assert_eq!(pair.session.counts(Backend).messages as usize, MOST_SEEN + 7, "they pass all the same");
}
