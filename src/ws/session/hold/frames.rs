//! What the client is told of its backends, and the Pings of both ends.

use std::{collections::VecDeque, mem, sync::Arc, time::Instant};

use crate::ws::{
    Side::Client,
    frame::{ControlFrame, FrameHeader, OpCode, encode_header},
    keepalive::fingerprint,
    session::Session,
    tick::Tick,
};

/// The most Pings of one backend, and of all backends before it, whose Pongs are told from one another. A client that owes more
/// answers the later ones.
const MOST_PINGS: usize = 8;

/// The last Pings that an end has got and not answered. Pongs come in the order of their Pings, but some may never come.
#[derive(Debug, Default)]
pub(in crate::ws::session) struct Pings(
    /// What stands for their payloads.
    VecDeque<u64>,
);

impl Pings {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::ws::session) fn push(&mut self, ping: u64) {
        if self.0.len() >= MOST_PINGS {
            self.0.pop_front();
        }
        self.0.push_back(ping);
    }

    /// Takes out the first Ping that this Pong answers, and those before it. Returns whether there is one.
    pub(in crate::ws::session) fn take(&mut self, pong: u64) -> bool {
        let place = self.0.iter().position(|ping| *ping == pong);
        if let Some(place) = place {
            self.0.drain(..=place);
        }
        place.is_some()
    }

    /// Adds the Pings of another connection behind these. None of them is left there.
    pub(in crate::ws::session) fn append(&mut self, others: &mut Self) {
        mem::take(others).0.into_iter().for_each(|ping| self.push(ping));
    }
}

/// The frames of ours that go to the client.
impl Session {
    /// Whether the client is to get a frame because of its backends.
    pub(in crate::ws::session) fn owes_client(&self) -> bool {
        let backend = &self.backend.tracker;
        self.owes_control_text()
            || self.hold().is_some_and(|hold| {
                (hold.pong.is_some() && backend.at_frame_end()) || (hold.notifies && backend.at_message_end())
            })
    }

    /// Appends these frames. What tells of another backend goes before what the backend says.
    pub(in crate::ws::session) fn tell_client(&mut self, now: Tick, out: &mut Vec<u8>) {
        let is_between = self.backend.tracker.at_message_end();
        if let Some(pong) = self.hold_state_mut().and_then(|hold| hold.pong.take()) {
            pong.encode(None, out);
            self.note_ours(Client, &pong, now);
        }
        if is_between {
            self.tell_resync(now, out);
            let begin = out.len();
            if self.hold_state_mut().is_some_and(|hold| mem::take(&mut hold.notifies)) {
                self.write_notice(now, out);
                self.log_message(&out[begin..], now);
            }
            self.tell_count(now, out);
        }
        self.client.keepalive.handle_sent(now);
        self.forget_idle_fate();
    }

    /// Another backend has taken the session while there is no client. The notice waits for it, before what the backend says.
    pub(super) fn keep_notice(&mut self, now: Instant) {
        let mut notice = Vec::new();
        if self.hold_state_mut().is_some_and(|hold| mem::take(&mut hold.notifies)) {
            self.write_notice(self.common.tick(now), &mut notice);
        }
        if !self.has_room_for(notice.len()) {
            return self.end_absence(now);
        }
        if !notice.is_empty() {
            self.log_message(&notice, self.common.tick(now));
        }
    }

    fn write_notice(&mut self, now: Tick, out: &mut Vec<u8>) {
        let common = Arc::clone(&self.common);
        let Some(notice) = common.hold.as_ref().and_then(|terms| terms.notify.as_deref()) else { return };
        let length = notice.len() as u64;
        encode_header(0x81, length, None, out);
        out.extend_from_slice(notice.as_bytes());
        let header = FrameHeader { fin: true, rsv: 0, opcode: OpCode::Text, mask: None, length };
        self.note_our_header(Client, header, now);
    }
}

/// Pings and Pongs of both ends.
impl Session {
    /// A Ping of the client has passed to the backend.
    pub(in crate::ws::session) fn note_asked(&mut self, ping: &ControlFrame) {
        if self.common.hold.is_some() {
            self.fate.get_or_insert_default().hold_mut().asked = Some(*ping);
        }
    }

    /// A Ping of the client has come while no backend takes it.
    pub(in crate::ws::session) fn owe_pong(&mut self, ping: &ControlFrame) {
        if let Some(hold) = self.fate.as_mut().and_then(|fate| fate.hold.as_mut()) {
            hold.pong = Some(ControlFrame::new(OpCode::Pong, ping.payload(), None));
        }
    }

    /// A Ping of the backend has passed to the client.
    pub(in crate::ws::session) fn note_asking(&mut self, ping: &ControlFrame) {
        if self.common.hold.is_some() {
            self.fate.get_or_insert_default().hold_mut().asking.push(fingerprint(ping.payload()));
        }
    }

    /// A Pong of the backend has come.
    pub(in crate::ws::session) fn note_answered(&mut self, pong: &ControlFrame) {
        if let Some(hold) = self.fate.as_mut().and_then(|fate| fate.hold.as_mut())
            && hold.asked.take_if(|asked| asked.payload() == pong.payload()).is_some()
        {
            self.forget_idle_fate();
        }
    }

    /// The client is gone, and with it what it was asked and what it is owed.
    pub(in crate::ws::session) fn forget_pings_of_client(&mut self) {
        if let Some(hold) = self.hold_state_mut() {
            (hold.asked, hold.pong) = (None, None);
            (hold.asking, hold.late) = (Pings::default(), Pings::default());
        }
    }

    /// A Pong of the client has come. Returns whether it is for a backend that is gone. If two backends sent the same Ping, it is
    /// for the later one: a backend may take a client for dead that does not answer.
    pub(in crate::ws::session) fn takes_late_pong(&mut self, pong: &ControlFrame) -> bool {
        let Some(hold) = self.fate.as_mut().and_then(|fate| fate.hold.as_mut()) else { return false };
        let pong = fingerprint(pong.payload());
        if !hold.asking.take(pong) {
            return hold.late.take(pong);
        }
        // Nothing more comes for the backends before.
        hold.late = Pings::default();
        self.forget_idle_fate();
        false
    }
}
