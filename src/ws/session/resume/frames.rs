//! What passes to the client and is kept for it, what it is told, and the Pings of both ends.

use super::{LATEST_COUNT, PARTS, Receipt, Resume, Resync};
use crate::ws::{
    Side::{Backend, Client},
    control_text::ControlText,
    frame::{ControlFrame, OpCode},
    keepalive::fingerprint,
    session::{
        ResumeTerms, Session,
        half::{Incoming, Outgoing},
        hold::Pings,
    },
    tick::Tick,
    tracker::End,
};

/// What goes to the client and is kept for it.
impl Session {
    /// Whether data of the backend is kept for a client that is away.
    pub(in crate::ws::session) fn keeps_data(&self) -> bool {
        self.ending().is_none() && self.backend.from == Incoming::Open && self.is_without_client()
    }

    /// A piece of the backend's data has passed, or is kept.
    pub(in crate::ws::session) fn log_piece(&mut self, piece: &[u8], now: Tick) {
        let tracker = &self.backend.tracker;
        let (left, end) = (tracker.payload_left(), tracker.end());
        self.log(piece, left, end, now);
    }

    fn log(&mut self, piece: &[u8], left: u64, end: End, now: Tick) {
        let Some(ResumeTerms { replay, .. }) = self.common.resume else { return };
        let is_ending = self.ending().is_some();
        let Some(resume) = self.resume_mut().filter(|_| !is_ending) else { return };
        if resume.is_without_client() {
            resume.log.keep(piece, end, replay);
        } else {
            resume.log.push(piece, left, end, replay);
            if end == End::Message {
                resume.heard = now;
            }
        }
    }

    /// A message of ours goes to the client, or will.
    pub(in crate::ws::session) fn log_message(&mut self, message: &[u8], now: Tick) {
        self.log(message, 0, End::Message, now);
    }

    /// Whether a message of ours, of so many bytes, finds room for a client that is away.
    pub(in crate::ws::session) fn has_room_for(&self, bytes: usize) -> bool {
        let room = self.resume().zip(self.common.resume).map(|(resume, terms)| resume.log.room(terms.replay));
        room.is_none_or(|room| bytes <= room)
    }

    /// Another backend has taken the session.
    pub(in crate::ws::session) fn owe_resync(&mut self) {
        if let Some(resume) = self.resume_mut() {
            resume.resync = Resync::Due;
        }
    }
}

/// The frames of ours because of the client.
impl Session {
    /// When the client is to get a control text; `None` = not before something else has happened.
    pub(in crate::ws::session) fn poll_news(&self) -> Option<Tick> {
        let (resume, terms) = (self.resume()?, self.common.resume?);
        if self.client.to != Outgoing::Open || resume.news.is_due || resume.news.waits {
            return None;
        }
        // Behind other bytes, a beat tells nothing that these do not tell.
        let beat = (!self.client.keepalive.is_stalled()).then(|| resume.heard + terms.beat);
        resume.news.since.map(|since| since + LATEST_COUNT).into_iter().chain(beat).min()
    }

    /// The instant of [`Self::poll_news`] has come.
    pub(in crate::ws::session) fn owe_news(&mut self) {
        if let Some(resume) = self.resume_mut() {
            resume.news.is_due = true;
        }
    }

    /// Whether the client is to get a control text at the next end of a message.
    pub(super) fn has_news(&self) -> bool {
        let is_due = self
            .resume()
            .is_some_and(|Resume { resync, news, .. }| *resync == Resync::Due || (news.is_due && !news.waits));
        is_due && self.ending().is_none()
    }

    /// Whether the client is to get a control text now.
    pub(in crate::ws::session) fn owes_control_text(&self) -> bool {
        self.has_news() && self.backend.tracker.at_message_end()
    }

    /// The client has taken bytes.
    pub(in crate::ws::session) fn note_taken_by_client(&mut self) {
        if let Some(resume) = self.resume_mut() {
            resume.news.waits = false;
        }
    }

    /// Appends the control text that tells of a hold, if it is due.
    pub(in crate::ws::session) fn tell_resync(&mut self, now: Tick, out: &mut Vec<u8>) {
        let Some(resume) = self.resume_mut().filter(|resume| resume.resync == Resync::Due) else { return };
        (resume.resync, resume.heard) = (Resync::Told(resume.log.sent()), now);
        let header = resume.secret.write(ControlText::Resync, out);
        self.note_our_header(Client, header, now);
    }

    /// Appends the control text that tells how many messages have arrived, if it is due.
    pub(in crate::ws::session) fn tell_count(&mut self, now: Tick, out: &mut Vec<u8>) {
        let waits = self.client.keepalive.is_stalled();
        let Some(resume) = self.resume_mut().filter(|resume| resume.news.is_due) else { return };
        (resume.news, resume.heard) = (Receipt { waits, ..Receipt::default() }, now);
        let header = resume.secret.write(ControlText::Count(resume.assembly.passed()), out);
        self.note_our_header(Client, header, now);
    }

    /// Appends the Pong of ours for the backend.
    pub(in crate::ws::session) fn tell_backend(&mut self, now: Tick, out: &mut Vec<u8>) {
        let Some(pong) = self.answer() else { return };
        let (half, terms) = self.half_and_terms(Backend);
        pong.encode(half.keepalive.mask(terms, OpCode::Pong), out);
        half.keepalive.handle_sent(now);
        self.note_ours(Backend, &pong, now);
    }

    /// The frame of ours for the backend, if there is one.
    pub(in crate::ws::session) fn answer(&mut self) -> Option<ControlFrame> {
        self.resume_mut()?.answer.take().map(|answer| *answer)
    }

    /// Whether the backend is to get a Pong of ours now.
    pub(in crate::ws::session) fn owes_backend(&self) -> bool {
        self.resume().is_some_and(|resume| resume.answer.is_some()) && self.client.tracker.at_frame_end()
    }
}

/// Pings and Pongs of both ends.
impl Session {
    /// A Ping of the client has passed to the backend.
    pub(in crate::ws::session) fn note_asked_by_client(&mut self, ping: &ControlFrame) {
        if let Some(resume) = self.resume_mut() {
            resume.asked.push(fingerprint(ping.payload()));
        }
    }

    /// A Ping of the backend has passed to the client.
    pub(in crate::ws::session) fn note_asked_by_backend(&mut self, ping: &ControlFrame) {
        if let Some(resume) = self.resume_mut() {
            resume.asking = Some(Box::new(*ping));
        }
    }

    /// A Ping of the backend has come while no client takes it.
    pub(in crate::ws::session) fn owe_pong_to_backend(&mut self, ping: &ControlFrame) {
        if let Some(resume) = self.resume_mut().filter(|resume| resume.is_without_client()) {
            resume.answer = Some(Box::new(ControlFrame::new(OpCode::Pong, ping.payload(), None)));
        }
    }

    /// A Pong of the client has come.
    pub(in crate::ws::session) fn note_answered_by_client(&mut self, pong: &ControlFrame) {
        if let Some(resume) = self.resume_mut() {
            resume.asking.take_if(|asking| asking.payload() == pong.payload());
        }
    }

    /// A Pong of the backend has come. Returns whether it is for a connection of the client that is gone.
    pub(in crate::ws::session) fn takes_late_pong_of_backend(&mut self, pong: &ControlFrame) -> bool {
        let Some(resume) = self.resume_mut() else { return false };
        let pong = fingerprint(pong.payload());
        if !resume.asked.take(pong) {
            return resume.late.take(pong);
        }
        // Nothing more comes for the connections before.
        resume.late = Pings::default();
        false
    }

    /// The backend is gone, and with it what it was asked and what it is owed.
    pub(in crate::ws::session) fn forget_pings_of_backend(&mut self) {
        if let Some(resume) = self.resume_mut() {
            (resume.asked, resume.late) = (Pings::default(), Pings::default());
            (resume.asking, resume.answer) = (None, None);
        }
    }
}

impl Receipt {
    /// Messages have passed.
    pub(super) fn note(&mut self, bytes: usize, replay: usize, now: Tick) {
        if bytes > 0 {
            self.bytes += bytes;
            self.since.get_or_insert(now);
            self.is_due |= self.bytes >= replay / PARTS;
        }
    }
}
