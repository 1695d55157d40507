//! What is done to the fleet.

use std::ops::Range;

use super::{
    Millis,
    client::{CONNECT_TIMEOUT, Told, notices_silence},
    instance::{Instance, Presence},
    record::EVEN,
    seat::{Seat, Stage},
    world::World,
};

#[derive(Debug, Clone)]
pub enum Act {
    /// The balancer looks away from these instances.
    LookAway(Range<u16>),
    /// The balancer sends them new connections.
    LookBack(Range<u16>),
    /// Their listeners close, and their sessions are told to leave within this time.
    Leave(Range<u16>, Millis),
    /// Processes are started where none is any more.
    Start(Range<u16>),
    /// The processes die, and their hosts say so.
    Die(Range<u16>),
    /// The hosts are gone without a word. The balancer ends the connections that it knows (`true`), or clients notice by their heartbeat.
    Vanish(Range<u16>, bool),
    /// `longwire rebalance`: instances end their oldest sessions within this time.
    Rebalance(Amount, Millis),
    /// Valkey answers, or does not.
    Valkey(bool),
    /// A backend is drained within this time and is then out.
    DrainBackend(u16, Millis),
    BackendBack(u16),
}

/// How many sessions an instance ends.
#[derive(Debug, Clone)]
pub enum Amount {
    /// As many as it has more than the mean (`--surplus-over`). None where the fleet is even.
    Surplus,
    /// A share of them, at these instances (`--share`).
    Share(f64, Range<u16>),
}

/// Steps of age by which the oldest sessions are found.
const AGES: usize = 256;

impl World {
    pub(super) fn act(&mut self, act: &Act) {
        match act {
            Act::LookAway(range) => self.each(range, |instance| instance.is_in_turn = false),
            Act::LookBack(range) => self.each(range, |instance| instance.is_in_turn = true),
            Act::Leave(range, spread) => self.let_leave(range, *spread),
            Act::Start(range) => {
                // Whoever is left there is cut.
                self.cut(range, true);
                self.each(range, Instance::start);
            }
            Act::Die(range) => {
                self.each(range, |instance| instance.presence = Presence::Gone);
                self.cut(range, true);
            }
            Act::Vanish(range, tells) => {
                self.each(range, |instance| instance.presence = Presence::Silent);
                self.cut(range, *tells);
            }
            Act::Rebalance(amount, over) => self.rebalance(amount, *over),
            Act::Valkey(answers) => self.set_valkey(*answers),
            Act::DrainBackend(place, over) => self.drain_backend(*place, *over),
            Act::BackendBack(place) => {
                if let Some(backends) = &mut self.backends {
                    backends.come_back(*place, self.now);
                }
            }
        }
    }

    fn each(&mut self, range: &Range<u16>, change: impl FnMut(&mut Instance)) {
        self.instances[usize::from(range.start)..usize::from(range.end)].iter_mut().for_each(change);
    }

    /// The clients for which this holds, by number.
    fn seats_with(&self, holds: impl Fn(&Seat) -> bool) -> Vec<u32> {
        (0..).zip(&self.seats).filter(|(_, seat)| holds(seat)).map(|(id, _)| id).collect()
    }

    fn let_leave(&mut self, range: &Range<u16>, spread: Millis) {
        let since = self.now;
        self.each(range, |instance| instance.presence = Presence::Leaving { since, spread });
        for id in self.seats_with(|seat| range.contains(&seat.home) && seat.has_session()) {
            let at = since + self.lots.within(spread);
            self.tell(id, at);
        }
    }

    /// Ends all that these instances have. The clients read 1006 (`tells`), or nothing.
    fn cut(&mut self, range: &Range<u16>, tells: bool) {
        let mut holds = 0;
        self.each(range, |instance| {
            holds += instance.sessions + instance.in_flight;
            // Nobody gets a place any more.
            instance.line.clear();
        });
        if holds == 0 {
            return;
        }
        for id in self.seats_with(|seat| range.contains(&seat.home) && (seat.has_session() || seat.is_in_flight())) {
            self.wheel.take_out(&mut self.seats, id);
            let seat = self.seats[id as usize];
            match (seat.has_session(), tells) {
                (true, true) => {
                    self.leave(id);
                    self.lose(id, Told::Nothing);
                }
                (true, false) => {
                    self.leave(id);
                    let at = self.now + notices_silence(&mut self.lots);
                    self.wait(id, Stage::Unaware, at);
                }
                (false, true) => self.come_to_nothing(id),
                (false, false) => {
                    self.drop_handshake(id);
                    self.wait(id, Stage::Failing, seat.since as u32 + CONNECT_TIMEOUT);
                }
            }
        }
    }

    /// How many sessions each instance is to end.
    fn surplus(&self, amount: &Amount) -> Vec<u32> {
        let in_turn = || self.instances.iter().filter(|instance| instance.is_in_turn).map(|instance| instance.sessions);
        let mean = in_turn().sum::<u32>() / in_turn().count().max(1) as u32;
        let is_even = f64::from(in_turn().max().unwrap_or(0)) <= f64::from(mean) * EVEN;
        let of_instance = |(place, instance): (u16, &Instance)| match amount {
            Amount::Surplus if is_even => 0,
            Amount::Surplus => instance.sessions.saturating_sub(mean),
            Amount::Share(share, range) if range.contains(&place) => (f64::from(instance.sessions) * share) as u32,
            Amount::Share(..) => 0,
        };
        (0..).zip(&self.instances).map(of_instance).collect()
    }

    fn rebalance(&mut self, amount: &Amount, over: Millis) {
        let mut surplus = self.surplus(amount);
        if surplus.iter().all(|surplus| *surplus == 0) {
            return;
        }
        self.record.rounds += 1;
        let oldest = self.seats.iter().map(|seat| seat.since).min().unwrap_or(0);
        let step = (i64::from(self.now) - i64::from(oldest)) / AGES as i64 + 1;
        // From the oldest on.
        let age = |seat: &Seat| ((i64::from(seat.since) - i64::from(oldest)) / step) as usize;
        let mut of_age = vec![0_u32; self.instances.len() * AGES];
        for seat in self.seats.iter().filter(|seat| seat.stage == Stage::Open) {
            of_age[usize::from(seat.home) * AGES + age(seat)] += 1;
        }
        // Up to which age all go, and how many of the next one.
        let mut bounds = Vec::with_capacity(surplus.len());
        for (ages, surplus) in of_age.chunks(AGES).zip(&mut surplus) {
            let whole =
                ages.iter().take_while(|count| surplus.checked_sub(**count).inspect(|rest| *surplus = *rest).is_some());
            bounds.push(whole.count());
        }
        let mut chosen =
            self.seats_with(|seat| seat.stage == Stage::Open && age(seat) <= bounds[usize::from(seat.home)]);
        chosen.retain(|id| {
            let (seat, home) = (&self.seats[*id as usize], usize::from(self.seats[*id as usize].home));
            age(seat) < bounds[home] || surplus[home].checked_sub(1).inspect(|rest| surplus[home] = *rest).is_some()
        });
        for id in chosen {
            let at = self.now + self.lots.within(over);
            self.tell(id, at);
        }
    }

    fn set_valkey(&mut self, answers: bool) {
        let living = self.serving;
        if let Some(limits) = &mut self.limits {
            (limits.is_exact, limits.living) = (answers, living);
        }
    }

    fn drain_backend(&mut self, place: u16, over: Millis) {
        if let Some(backends) = &mut self.backends {
            backends.go_out(place);
        }
        let of_backend = |id: &u32| self.backend_of[*id as usize] == place;
        let mut chosen = self.seats_with(Seat::has_session);
        chosen.retain(of_backend);
        for id in chosen {
            let at = self.now + self.lots.within(over);
            self.tell(id, at);
        }
    }
}
