//! The backends behind the fleet: how many handshakes they take a second, and who waits for them.

use super::Millis;

/// A backend that has just come back has a twentieth of its weight: `src/balance/slow_start.rs`.
const FIRST_SHARE: f64 = 0.05;

/// What all backends of the fleet have in common.
#[derive(Debug, Clone, Copy)]
pub struct BackendRules {
    pub count: usize,
    /// Handshakes a second that one backend can do. They wait inside of it, in their order.
    pub rate: f64,
    /// `max_handshakes` of each instance; `None` = no limit.
    pub most_in_flight: Option<u32>,
    /// `handshake_queue` of each instance.
    pub queue: usize,
    pub slow_start: Millis,
}

#[derive(Debug, Clone)]
struct Backend {
    /// When it has worked off what it has, in ms.
    free_at: f64,
    /// Sessions, and handshakes in flight.
    load: u32,
    is_out: bool,
    /// When it came back.
    back_since: Option<Millis>,
}

#[derive(Debug)]
pub struct Backends {
    rules: BackendRules,
    all: Vec<Backend>,
    /// Handshakes for the backend 0, whose return is watched.
    pub watched: u64,
}

impl Backends {
    pub fn new(rules: BackendRules) -> Self {
        let fresh = Backend { free_at: 0.0, load: 0, is_out: false, back_since: None };
        Self { rules, all: vec![fresh; rules.count], watched: 0 }
    }

    /// The backend with the fewest sessions for its weight (`least_conn`), of those that have a place if there are any. All instances see
    /// much the same loads, since all clients are spread over all of them.
    fn least(&self, now: Millis, instances: u32) -> usize {
        let share = |backend: &Backend| match backend.back_since {
            Some(since) if now - since < self.rules.slow_start => {
                FIRST_SHARE + (1.0 - FIRST_SHARE) * f64::from(now - since) / f64::from(self.rules.slow_start)
            }
            _ => 1.0,
        };
        let per_weight = |place: &usize| f64::from(self.all[*place].load + 1) / share(&self.all[*place]);
        let has_place = |place: &usize| {
            let in_flight = self.behind(*place, now) * self.rules.rate / 1000.0;
            self.rules.most_in_flight.is_none_or(|most| in_flight < f64::from(most * instances))
        };
        let there = || (0..self.all.len()).filter(|place| !self.all[*place].is_out);
        let least = |a: &usize, b: &usize| per_weight(a).total_cmp(&per_weight(b));
        there().filter(has_place).min_by(least).or_else(|| there().min_by(least)).unwrap_or(0)
    }

    /// A handshake comes from one of so many instances. Returns its backend, and when the 101 comes, in ms.
    pub fn take(&mut self, now: Millis, instances: u32) -> (u16, Millis) {
        let place = self.least(now, instances);
        let backend = &mut self.all[place];
        backend.free_at = backend.free_at.max(f64::from(now)) + 1000.0 / self.rules.rate;
        backend.load += 1;
        self.watched += u64::from(place == 0);
        (place as u16, backend.free_at.ceil() as Millis)
    }

    /// The handshakes of an instance that all its backends take together, and those that wait for them.
    pub fn places(&self) -> (u32, usize) {
        let most = self.rules.most_in_flight.map_or(u32::MAX, |most| most * self.rules.count as u32);
        (most, self.rules.queue)
    }

    /// A session that was there at the start.
    pub fn begin_with(&mut self, number: u32) -> u16 {
        let place = number as usize % self.all.len();
        self.all[place].load += 1;
        place as u16
    }

    pub fn leave(&mut self, place: u16) {
        self.all[usize::from(place)].load -= 1;
    }

    pub fn go_out(&mut self, place: u16) {
        self.all[usize::from(place)].is_out = true;
    }

    pub fn come_back(&mut self, place: u16, now: Millis) {
        let backend = &mut self.all[usize::from(place)];
        (backend.is_out, backend.back_since, backend.free_at) = (false, Some(now), 0.0);
    }

    /// How long the handshakes that a backend has will take, in ms.
    pub fn behind(&self, place: usize, now: Millis) -> f64 {
        (self.all[place].free_at - f64::from(now)).max(0.0)
    }
}
