//! A session that outlives its client's connection: the backend is kept until the client comes back.
//!
//! The driver of a session that can be resumed follows these rules beside those of [`Session`]:
//!
//! 1. **Begin.** It calls [`Session::begin_resumable`] before any byte of either side. The hello goes to the client before that: the
//!    session knows nothing of hellos.
//! 2. **From the client.** It feeds what it reads by [`Session::handle_client_input`] instead of [`Session::handle_input`]: all of it,
//!    once, and keeps nothing back. What passes is in the other buffer. [`Session::client_read_limit`] holds as in a hold.
//! 3. **From the backend.** Before each read it asks [`Session::backend_read_limit`], and reads no more than that at once; 0 = not
//!    now. After each read it asks [`Session::poll_transmit`] for the client: control texts come out of it. Their instants are among
//!    those of [`Session::poll_timeout`]. [`Session::unseen`] is always 0.
//! 4. **The client goes.** It calls [`Session::handle_eof`], [`Session::handle_broken`] and [`Session::handle_timeout`] as ever. After each of
//!    them, and after each feed of bytes, it asks [`Session::awaits_client`]. If that is true, it lets go of the client's stream, and drops
//!    everything that waits for the client (nothing of that is lost). From then on it reads no client, writes to no client, and tells
//!    nothing of one. If too many sessions are away, it keeps the stream, and calls [`Session::refuse_absence`]: the session then ends as
//!    on a route without `resume`. Until it knows which of both it does, it reads no backend.
//! 5. **A claim.** It first feeds nothing more of the old client: [`Session::claim`] says what has passed until now. After
//!    [`Claimed::Ready`], rule 4 holds: the old client's stream is closed, whatever it still has. After [`Claimed::Gone`] the session ends as
//!    after any other event.
//! 6. **The client comes back.** Its 101 and its hello have been written. The driver calls [`Session::take_client`] with the attempt of
//!    the claim. If that is false, another attempt has come since, or the session ends: it drops the new stream. If it is true, what was
//!    appended waits for the new client before all else; then comes what was read behind the new handshake, by rule 2. Then it asks
//!    [`Session::poll_transmit`] and [`Session::poll_timeout`] again.
//! 7. **Memory.** It counts [`Session::kept_for_client`] among those of all sessions together. If that is too much, it calls
//!    [`Session::handle_replay_shortage`].
//!
//! A hold may begin, go on and end while the client is away, and the other way round.

mod frames;

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{
    Session,
    half::{Incoming, Outgoing},
    hold::Pings,
    resume_terms::{Claimed, ResumeTally, ResumeTerms},
};
use crate::ws::{
    Side::{Backend, Client},
    assembly::Assembly,
    close::{CloseCode, CloseFrame, answer_to, close_frame},
    control_text::{ControlSecret, ControlText},
    frame::{Breach, ControlFrame, MAX_HEADER, OpCode},
    opcodes::OpCodeCounts,
    replay::ReplayLog,
    termination::{Cause, HowEnded, Loss, Termination},
    tick::Tick,
};

/// After the first message that is new, the client is told at the latest then that it has arrived.
const LATEST_COUNT: Duration = Duration::from_secs(1);
/// After so many parts of what the client may keep, it is told at once.
const PARTS: usize = 4;
/// The first bytes of a header say how long the header is.
const SHORTEST_HEADER: usize = 2;

/// The state of a session that may outlive its client's connection.
#[derive(Debug)]
pub(super) struct Resume {
    secret: ControlSecret,
    stage: ResumeStage,
    assembly: Assembly,
    log: ReplayLog,
    /// The highest attempt that has claimed the session.
    attempt: u64,
    news: Receipt,
    /// When the last whole message or control text went to the client. Its library sees nothing else.
    heard: Tick,
    /// The end of the session waits for this message of the client, which had come in part when the end began.
    wanted: Option<u64>,
    /// What has passed the assembly goes through the session now.
    is_feeding: bool,
    resync: Resync,
    /// The Pings of the client that have passed to the backend and are not answered.
    asked: Pings,
    /// The same of the connections before.
    late: Pings,
    /// The last Ping of the backend that has passed to the client and is not answered.
    asking: Option<Box<ControlFrame>>,
    /// A frame of ours that the backend is to get: a Pong, or the answer to its Close.
    answer: Option<Box<ControlFrame>>,
    /// A Close of the backend that the client is to get when it is back.
    close: Option<Box<ControlFrame>>,
    tally: ResumeTally,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResumeStage {
    /// The client is there.
    Present,
    /// Writing to the client has failed. `until`: its unread bytes are given up then.
    Fading { loss: Loss, since: Tick, until: Tick },
    /// `how`: how the connection ended. `until`: the client must be back then. `claimed`: an attempt has been told to come.
    Away { how: HowEnded, since: Tick, until: Tick, claimed: bool },
    /// The session ends: no client can come back to it.
    Over,
}

/// What the client is to be told of its own messages.
#[derive(Debug, Default)]
struct Receipt {
    /// The bytes of messages that have passed since the client was told.
    bytes: usize,
    /// When the first one of them passed.
    since: Option<Tick>,
    /// A control text waits for its place between two messages.
    is_due: bool,
    /// A control text stands behind bytes of which the client has taken none since.
    waits: bool,
}

/// Whether the client knows of the last hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Resync {
    #[default]
    Known,
    Due,
    /// It has been told behind so many messages. If it acknowledges one more, it knows.
    Told(u64),
}

impl Resume {
    fn new(secret: ControlSecret, now: Tick) -> Self {
        Self {
            secret,
            stage: ResumeStage::Present,
            assembly: Assembly::default(),
            log: ReplayLog::default(),
            attempt: 0,
            news: Receipt::default(),
            heard: now,
            wanted: None,
            is_feeding: false,
            resync: Resync::Known,
            asked: Pings::default(),
            late: Pings::default(),
            asking: None,
            answer: None,
            close: None,
            tally: ResumeTally::default(),
        }
    }

    /// Whether no frame goes to a client.
    const fn is_without_client(&self) -> bool {
        matches!(self.stage, ResumeStage::Fading { .. } | ResumeStage::Away { .. })
    }

    /// The end of the session has begun.
    pub(super) fn end(&mut self, messages: u64, now: Tick) {
        self.wanted = (self.assembly.held() > 0).then_some(messages);
        if let ResumeStage::Away { since, .. } = mem::replace(&mut self.stage, ResumeStage::Over) {
            self.tally.gap += now.since(since);
        }
        self.log.shed();
    }

    /// The client has acknowledged messages.
    fn acknowledge(&mut self, count: u64) -> Result<(), Breach> {
        if self.stage == ResumeStage::Over {
            // Messages still pass, and are not counted any more.
            return Ok(());
        }
        self.log.acknowledge(count).map_err(|_| Breach::FalseCount)?;
        if matches!(self.resync, Resync::Told(behind) if count > behind) {
            self.resync = Resync::Known;
        }
        Ok(())
    }
}

/// What the driver asks and tells. It owns the connections.
impl Session {
    /// From now on the session outlives its client's connection, on the terms of its route ([`super::Common::resume`]). `secret`: how
    /// control texts begin. Changes nothing if the route has no such terms, or if the 101 agreed on an extension.
    pub fn begin_resumable(&mut self, secret: &str) {
        if let Some(secret) = ControlSecret::new(secret)
            && self.common.resume.is_some()
            && !self.common.settings.extensions
        {
            let now = self.client.keepalive.last_sent();
            self.fate.get_or_insert_default().resume = Some(Box::new(Resume::new(secret, now)));
        }
    }

    /// Whether [`Self::begin_resumable`] was called: the client's bytes go to [`Self::handle_client_input`].
    #[must_use]
    pub const fn is_resumable(&self) -> bool {
        self.resume().is_some()
    }

    /// Bytes have come from the client. Appends to `out` what passes: whole messages, control frames, and what there is of a message
    /// that is larger than `replay`. Returns how many of these bytes, the last ones, go to the queue for the next backend.
    pub fn handle_client_input(
        &mut self,
        bytes: &[u8],
        counts: &mut OpCodeCounts,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> usize {
        let (tick, begin) = (self.common.tick(now), out.len());
        let is_open = self.client.from == Incoming::Open;
        let (replay, most) = (self.common.resume.map_or(0, |terms| terms.replay), self.most_held_back());
        let Some(resume) = self.resume_mut().filter(|_| is_open) else {
            // Bytes behind a Close or a breach.
            let mut behind = bytes.to_vec();
            self.handle_input(Client, &mut behind, counts, now);
            return 0;
        };
        let mut sorted = resume.assembly.sort(&resume.secret, most, bytes, out);
        resume.news.note(sorted.messages, replay, tick);
        if let Some(count) = sorted.acknowledged
            && let Err(breach) = resume.acknowledge(count)
        {
            sorted.breach = Some(breach);
        }
        resume.is_feeding = true;
        let passed = self.handle_input(Client, &mut out[begin..], counts, now);
        out.truncate(begin + passed.forward);
        if let Some(resume) = self.resume_mut() {
            resume.is_feeding = false;
        }
        if let Some(meter) = self.meter_mut()
            && let Err(breach) = meter.take_texts(sorted.texts as u64, sorted.idle_texts, tick)
        {
            sorted.breach = sorted.breach.or(Some(breach));
        }
        if let Some(breach) = sorted.breach.filter(|_| self.client.from == Incoming::Open) {
            self.handle_breach(Client, breach, now);
        }
        self.place_closes(tick);
        passed.queued
    }

    /// The most bytes that the driver reads of the backend at once; `None` = as many as it likes. While no client takes them, they have
    /// to find room here. While a control text waits, the next read ends where a frame ends.
    #[must_use]
    pub fn backend_read_limit(&self) -> Option<usize> {
        let (resume, replay) = (self.resume()?, self.common.resume?.replay);
        let backend = &self.backend;
        if backend.from != Incoming::Open {
            return None;
        }
        if resume.is_without_client() {
            return Some(resume.log.room(replay));
        }
        let waits = self.has_news() && !backend.tracker.at_message_end();
        waits.then(|| usize::try_from(backend.tracker.payload_left()).unwrap_or(usize::MAX).max(SHORTEST_HEADER))
    }

    /// Whether no frame goes to a client, because the session waits for it or is about to.
    #[must_use]
    pub fn is_without_client(&self) -> bool {
        self.resume().is_some_and(Resume::is_without_client)
    }

    /// Whether the session waits for its client to come back. The driver then lets go of the old connection.
    #[must_use]
    pub fn awaits_client(&self) -> bool {
        self.absence_ends().is_some()
    }

    /// Until when the session waits for its client; `None` = it does not wait.
    #[must_use]
    pub fn absence_ends(&self) -> Option<Instant> {
        match self.resume()?.stage {
            ResumeStage::Away { until, .. } => Some(until.instant(self.common.epoch)),
            _ => None,
        }
    }

    /// The session may not wait for its client, because too many do. It ends as on a route without `resume`: a client that can still be
    /// written reads why.
    pub fn refuse_absence(&mut self, now: Instant) {
        let Some(ResumeStage::Away { how, .. }) = self.resume().map(|resume| resume.stage) else { return };
        if !self.client.broken {
            self.client.to = Outgoing::Open;
        }
        if how == HowEnded::Silent { self.end_dead(Client, now) } else { self.end_absence(now) }
    }

    /// A client wants to come back. It has got `count` messages, and this is its attempt number `attempt`.
    ///
    /// If the answer is [`Claimed::Ready`], the session has let go of its old client, if it still had one. It waits for the new one
    /// for `ResumeTerms::longest` since the old one went.
    pub fn claim(&mut self, attempt: u64, count: u64, now: Instant) -> Claimed {
        let is_there = self.client.from == Incoming::Open;
        let Some(resume) = self.resume_mut().filter(|resume| resume.stage != ResumeStage::Over) else {
            return Claimed::Gone;
        };
        if attempt <= resume.attempt {
            return Claimed::Stale;
        }
        resume.attempt = attempt;
        let is_away = matches!(resume.stage, ResumeStage::Away { .. });
        let may = resume.log.reaches(count) && !resume.assembly.is_streaming() && (is_away || is_there);
        if !may || resume.acknowledge(count).is_err() {
            self.end_absence(now);
            return Claimed::Gone;
        }
        let received = resume.assembly.passed();
        if !is_away {
            // The client has closed the old connection, though we have not read that.
            self.lose_client(HowEnded::Lost(Loss::Fin), self.common.tick(now));
        }
        if let Some(ResumeStage::Away { claimed, .. }) = self.resume_mut().map(|resume| &mut resume.stage) {
            *claimed = true;
        }
        Claimed::Ready { received }
    }

    /// The client that has claimed the session by this attempt is there: its 101 and its hello have gone to it. Appends to `out` what
    /// follows them: the messages that it has not got, as far as they have come, and a Close of the backend. Returns false, and
    /// changes nothing, if the session does not wait for this client.
    pub fn take_client(&mut self, attempt: u64, now: Instant, out: &mut Vec<u8>) -> bool {
        let Some(ResumeTerms { longest, replay, .. }) = self.common.resume else { return false };
        let tick = self.common.tick(now);
        let Some(resume) = self.resume_mut().filter(|resume| resume.attempt == attempt) else { return false };
        let ResumeStage::Away { since, claimed: true, .. } = resume.stage else { return false };
        resume.stage = ResumeStage::Present;
        (resume.news, resume.heard) = (Receipt::default(), tick);
        resume.tally.resumes = resume.tally.resumes.saturating_add(1);
        resume.tally.gap += tick.since(since);
        resume.tally.replayed += resume.log.kept();
        let tells = resume.resync != Resync::Known;
        if tells {
            resume.resync = Resync::Told(resume.log.before());
            let header = resume.secret.write(ControlText::Resync, out);
            self.note_our_header(Client, header, tick);
        }
        if let Some(resume) = self.resume() {
            resume.log.replay(out);
        }
        self.client.begin_anew(tick);
        self.backend.keepalive.handle_resumed(tick);
        if let Some(meter) = self.meter_mut() {
            meter.handle_returned(replay as u64, longest, tick);
        }
        if let Some(close) = self.resume_mut().and_then(|resume| resume.close.take()) {
            close.encode(None, out);
            self.client.to = Outgoing::Closed;
            self.backend.counts.frames += 1;
            self.end_with_their_close(Backend, &close, now);
        }
        true
    }

    /// The Close for a client that comes back though the end of the session has begun; `None` = it has not.
    #[must_use]
    pub fn late_close(&self) -> Option<ControlFrame> {
        let Termination { cause, code, reason, .. } = &self.ending()?.termination;
        Some(match (cause, code.filter(|code| code.may_be_sent())) {
            // The code is the one for the author of the breach.
            (Cause::BackendBreach | Cause::MessageTooBig, _) => {
                close_frame(CloseCode::INTERNAL_ERROR, cause.as_reason())
            }
            (_, Some(code)) => close_frame(code, reason),
            (_, None) => ControlFrame::new(OpCode::Close, &[], None),
        })
    }

    /// Whether the session would outlive the loss of its client now.
    #[must_use]
    pub fn can_be_resumed(&self) -> bool {
        self.resume().is_some_and(|resume| {
            let is_there = matches!(resume.stage, ResumeStage::Present | ResumeStage::Fading { .. });
            is_there && resume.log.is_complete() && !resume.assembly.is_streaming()
        })
    }

    /// Bytes of messages that are kept: for the client until it acknowledges them, and from it until they are whole.
    #[must_use]
    pub fn kept_for_client(&self) -> usize {
        self.resume().map_or(0, |resume| resume.log.memory() + resume.assembly.memory())
    }

    /// All sessions together keep too much for their clients, and this one has added to it. It keeps nothing more of what went to a
    /// client that is there, and passes on what it has of a half message with the next bytes. A session without a client ends, as if it had
    /// waited long enough.
    pub fn handle_replay_shortage(&mut self, now: Instant) {
        let Some(resume) = self.resume_mut() else { return };
        if resume.is_without_client() {
            return self.end_absence(now);
        }
        resume.log.shed();
        resume.assembly.shed();
    }

    /// What the session has been through with its clients.
    #[must_use]
    pub fn resume_tally(&self) -> ResumeTally {
        self.resume().map(|resume| resume.tally).unwrap_or_default()
    }
}

impl Session {
    const fn resume(&self) -> Option<&Resume> {
        match &self.fate {
            Some(fate) => match &fate.resume {
                Some(resume) => Some(resume),
                None => None,
            },
            None => None,
        }
    }

    fn resume_mut(&mut self) -> Option<&mut Resume> {
        self.fate.as_mut()?.resume.as_deref_mut()
    }

    /// The most bytes of a message that are kept back. A message that breaks a limit is not one of them.
    fn most_held_back(&self) -> usize {
        let replay = self.common.resume.map_or(0, |terms| terms.replay);
        let largest = self.common.settings.limits.message_size.map_or(u64::MAX, |most| most + MAX_HEADER as u64);
        usize::try_from(largest).map_or(replay, |largest| replay.min(largest))
    }

    /// Whether the backend has sent its Close, and the client is to get it.
    pub(super) fn keeps_their_close(&self) -> bool {
        self.resume().is_some_and(|resume| resume.close.is_some())
    }

    /// Whether the end of the session waits for a message of the client that had come in part when the end began.
    pub(super) fn waits_for_half_message(&self) -> bool {
        self.resume().is_some_and(|resume| {
            let is_awaited = resume.wanted.is_some_and(|before| self.client.counts.messages <= before);
            is_awaited && (resume.is_feeding || resume.assembly.held() > 0)
        })
    }

    /// The bytes of such a message.
    pub(super) fn held_back(&self) -> usize {
        self.resume().map_or(0, |resume| resume.assembly.held())
    }

    /// Writing to the client has failed. Returns whether the session outlives that: what the client has sent is read first, because its
    /// Close may be among it.
    pub(super) fn client_fades(&mut self, loss: Loss, now: Instant) -> bool {
        let (since, close_timeout) = (self.common.tick(now), self.common.settings.close_timeout);
        let may = self.can_be_resumed() && self.client.from == Incoming::Open;
        let Some(resume) = self.resume_mut() else { return false };
        if may && resume.stage == ResumeStage::Present {
            resume.stage = ResumeStage::Fading { loss, since, until: since + close_timeout };
            resume.news = Receipt::default();
            self.client.keepalive.handle_gone();
        }
        self.is_without_client()
    }

    /// The client is gone. Returns whether the session outlives that.
    pub(super) fn outlives_client(&mut self, how: HowEnded, now: Instant) -> bool {
        let may = self.can_be_resumed();
        if may {
            self.lose_client(how, self.common.tick(now));
        }
        may
    }

    fn lose_client(&mut self, how: HowEnded, now: Tick) {
        let Some(terms) = self.common.resume else { return };
        let client = &mut self.client;
        (client.from, client.to, client.lost) = (Incoming::Eof, Outgoing::Shut, true);
        client.keepalive.handle_gone();
        let Some(resume) = self.fate.as_mut().and_then(|fate| fate.resume.as_deref_mut()) else { return };
        let (how, since) = match resume.stage {
            ResumeStage::Fading { loss, since, .. } => (HowEnded::Lost(loss), since),
            _ => (how, now),
        };
        resume.stage = ResumeStage::Away { how, since, until: since + terms.longest, claimed: false };
        resume.news = Receipt::default();
        resume.assembly.begin_anew();
        resume.late.append(&mut resume.asked);
        let open = resume.asking.take().map(|asking| Box::new(ControlFrame::new(OpCode::Pong, asking.payload(), None)));
        resume.answer = resume.answer.take().or(open);
        self.forget_pings_of_client();
        let heard = self.client.keepalive.last_received();
        if let Some(meter) = self.meter_mut() {
            // What it says again may have been said at any time since then.
            meter.handle_stalled(heard);
        }
    }

    /// The stage has lasted too long.
    pub(super) fn end_client_stage(&mut self, now: Instant) {
        match self.resume().map(|resume| resume.stage) {
            Some(ResumeStage::Fading { .. }) => self.end_fading(now),
            Some(ResumeStage::Away { .. }) => self.end_absence(now),
            Some(ResumeStage::Present | ResumeStage::Over) | None => {}
        }
    }

    /// What a client to which nothing can be written has sent is read no longer.
    fn end_fading(&mut self, now: Instant) {
        let Some(ResumeStage::Fading { loss, .. }) = self.resume().map(|resume| resume.stage) else { return };
        if !self.outlives_client(HowEnded::Lost(loss), now) {
            self.client.from = Incoming::Done;
            self.lose(Client, loss, now);
        }
    }

    /// No client comes back to the session.
    pub(super) fn end_absence(&mut self, now: Instant) {
        let Some(resume) = self.resume_mut() else { return };
        let how = match resume.stage {
            ResumeStage::Away { how, .. } => how,
            ResumeStage::Fading { loss, .. } => HowEnded::Lost(loss),
            ResumeStage::Present | ResumeStage::Over => HowEnded::Lost(Loss::Fin),
        };
        match resume.close.take() {
            Some(close) => self.end_with_their_close(Backend, &close, now),
            None => self.end_lost(Client, how, now),
        }
    }

    /// When the present stage must be over.
    pub(super) fn poll_client_stage(&self) -> Option<Tick> {
        match self.resume()?.stage {
            ResumeStage::Fading { until, .. } | ResumeStage::Away { until, .. } => Some(until),
            ResumeStage::Present | ResumeStage::Over => None,
        }
    }

    /// A Close of the backend has come. Returns whether it is kept for a client that is away. It is answered at once.
    pub(super) fn keeps_close(&mut self, frame: &ControlFrame, now: Instant) -> bool {
        if self.ending().is_some() || self.backend.to != Outgoing::Open {
            return false;
        }
        // Nothing more passes to the backend, so that nothing more of the client may count.
        self.end_fading(now);
        let Some(resume) = self.resume_mut().filter(|resume| resume.is_without_client()) else { return false };
        resume.close = Some(Box::new(*frame));
        resume.answer = Some(Box::new(answer_to(CloseFrame::read(frame).code)));
        let backend = &mut self.backend;
        (backend.from, backend.to) = (Incoming::Closed, Outgoing::Due);
        (backend.closed, backend.told) = (true, true);
        true
    }
}
