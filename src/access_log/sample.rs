//! A fair sample of the ends, kept until somebody takes it who asks what they have in common (`explain`).
//!
//! A session pays for it once, when it has ended: a fraction of what its line costs.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{Record, RecordKind, micros};
use crate::{
    balance::random_at,
    explain::{EndClass, RecentEnds, SampledEnd, record::RecordText},
    outcome::Outcome,
    ws::termination::HowEnded,
};

/// What has ended since somebody took it.
#[derive(Debug)]
pub struct EndSampler {
    /// How many have drawn a lot.
    drawn: AtomicU64,
    /// Lots that are not below have no place. Each end reads them before it takes the lock. An old bound costs a vain look.
    bounds: [AtomicU32; 2],
    recent: Mutex<RecentEnds>,
}

impl EndSampler {
    /// Adds the end of a session or of a handshake, if it has a place.
    pub fn note(&self, record: &Record) {
        let is_wanted = match record.kind {
            RecordKind::Session => true,
            RecordKind::Request => record.cause != Outcome::Answered,
            RecordKind::Probe => false,
        };
        if !is_wanted {
            return;
        }
        // The upper half of a random number is one.
        let lot = (random_at(self.drawn.fetch_add(1, Relaxed)) >> 32) as u32;
        let wants = |class| lot < self.bound(class).load(Relaxed);
        if let Some(end) = SampledEnd::of(&text(record), record.cause.as_str(), lot, wants) {
            let bound = self.bound(end.class());
            let mut recent = self.recent();
            bound.store(recent.push(end), Relaxed);
        }
    }

    /// Takes what is there.
    #[must_use]
    pub fn take(&self) -> RecentEnds {
        // Room for as many as last time, so that nobody waits for the lock while memory moves.
        let [sessions, refusals] = EndClass::ALL.map(|class| self.recent().count(class));
        let next = RecentEnds::with_room(sessions, refusals);
        let mut recent = self.recent();
        for bound in &self.bounds {
            bound.store(u32::MAX, Relaxed);
        }
        mem::replace(&mut recent, next)
    }

    const fn bound(&self, class: EndClass) -> &AtomicU32 {
        let [sessions, refusals] = &self.bounds;
        match class {
            EndClass::Session => sessions,
            EndClass::Refusal => refusals,
        }
    }

    /// A lock, because the sessions of every worker end here. It is held while one end finds its place.
    fn recent(&self) -> MutexGuard<'_, RecentEnds> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for EndSampler {
    fn default() -> Self {
        let bounds = [AtomicU32::new(u32::MAX), AtomicU32::new(u32::MAX)];
        Self { drawn: AtomicU64::default(), bounds, recent: Mutex::default() }
    }
}

/// The record as its line would say it.
fn text(record: &Record) -> RecordText<'_> {
    let millis = |duration: Option<Duration>| duration.map(|duration| micros(duration) as f64 / 1000.0);
    let silence = record.silence;
    RecordText {
        time: record.time,
        kind: record.kind.as_str().into(),
        cause: record.cause.as_str().into(),
        client: record.client.address(),
        route: record.route.as_deref().map(Into::into),
        backend: record.backend.as_deref().map(Into::into),
        how: record.how.map(|how| HowEnded::as_str(how).into()),
        handshake: record.is_handshake.then_some(true),
        status: record.status,
        duration_ms: millis(record.duration),
        handshake_ms: millis(record.handshake),
        silence_from_client_ms: silence.map(|silence| silence.from_client.into()),
        silence_from_backend_ms: silence.map(|silence| silence.from_backend.into()),
        silence_to_client_ms: silence.map(|silence| silence.to_client.into()),
        silence_to_backend_ms: silence.map(|silence| silence.to_backend.into()),
        frames_to_client: record.traffic.frames_to_client,
        frames_to_backend: record.traffic.frames_to_backend,
        pings_client: record.traffic.pings_client,
        pings_backend: record.traffic.pings_backend,
        resumes: record.holds.map(|holds| holds.resumes),
        rtt_last_ms: millis(record.traffic.rtt_last),
        rtt_backend_last_ms: millis(record.traffic.rtt_backend_last),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::IpAddr;

    use super::{super::json::json, *};
    use crate::{
        error::Kind,
        explain::record::read,
        sender::Client,
        ws::termination::{Cause, Loss, Silence},
    };

    fn record(kind: RecordKind, cause: Outcome) -> Record {
        let mut record = Record::new(None, Client::from(IpAddr::from([192, 0, 2, 77])), "GET", "/ws");
        (record.kind, record.cause) = (kind, cause);
        record
    }

    /// The record of a session, with everything that a finding can need.
    fn session() -> Record {
        let mut record = record(RecordKind::Session, Outcome::Ended(Cause::ClientLost));
        record.time = "2026-01-02T03:04:05.123456789Z".parse().unwrap();
        (record.route, record.backend) = (Some("*/ws/".into()), Some("b:1".into()));
        (record.status, record.how) = (Some(101), Some(HowEnded::Lost(Loss::Reset)));
        record.duration = Some(Duration::from_nanos(60_010_000_400));
        record.handshake = Some(Duration::from_micros(9_999));
        let silence = Silence { from_client: 47_001, from_backend: 2, to_client: 3, to_backend: u32::MAX };
        record.silence = Some(silence);
        (record.traffic.frames_to_client, record.traffic.frames_to_backend) = (Some(1), Some(2));
        (record.traffic.pings_client, record.traffic.pings_backend) = (Some(3), Some(0));
        record.traffic.rtt_last = Some(Duration::from_millis(20));
        record
    }

    #[test]
    fn what_is_kept_of_a_record_is_what_its_line_says() {
        let mut refused = record(RecordKind::Request, Outcome::Failed(Kind::Refused));
        (refused.is_handshake, refused.status) = (true, Some(502));
        refused.client = Client::of_unix();
        for record in [session(), refused] {
            let (line, mut scratch) = (json(&record), String::new());
            let said = read(&line, &mut scratch).unwrap();
            assert_eq!(format!("{:?}", text(&record)), format!("{said:?}"), "{}", String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn only_sessions_and_handshakes_that_failed_are_kept() {
        let sampler = EndSampler::default();
        sampler.note(&record(RecordKind::Request, Outcome::Answered));
        sampler.note(&record(RecordKind::Request, Outcome::Failed(Kind::Refused)));
        sampler.note(&record(RecordKind::Probe, Outcome::Ended(Cause::Drain)));
        assert!(sampler.take().is_empty());
        let mut refused = record(RecordKind::Request, Outcome::NotUpgraded);
        refused.is_handshake = true;
        sampler.note(&refused);
        sampler.note(&session());
        let recent = sampler.take();
        assert_eq!(EndClass::ALL.map(|class| recent.count(class)), [1, 1]);
        assert!(sampler.take().is_empty());
    }

    #[test]
    fn more_ends_than_there_is_room_for_are_a_bounded_sample() {
        let sampler = EndSampler::default();
        let session = session();
        let all = 2 * RecentEnds::MOST_SESSIONS;
        for _ in 0..all {
            sampler.note(&session);
        }
        let bound = sampler.bound(EndClass::Session).load(Relaxed);
        // About half of all lots.
        assert!((0.49..0.51).contains(&(f64::from(bound) / f64::from(u32::MAX))), "{bound}");
        assert_eq!(sampler.take().count(EndClass::Session), RecentEnds::MOST_SESSIONS);
        assert_eq!(sampler.bound(EndClass::Session).load(Relaxed), u32::MAX);
    }
}
