//! The way of a client to its session: an instance, a line, a backend.

use super::{
    Millis,
    client::CONNECT_TIMEOUT,
    instance::{Instance, Presence},
    seat::Stage,
    world::World,
};

/// A handshake waits in line for a backend no longer than `timeouts.connect`.
const LONGEST_IN_LINE: Millis = 5_000;

impl World {
    pub(super) fn attempt(&mut self, id: u32) {
        let home = self.choose(id);
        let presence = home.map_or(Presence::Gone, |home| self.instances[usize::from(home)].presence);
        self.seats[id as usize].since = self.now as i32;
        match (home, presence) {
            (Some(home), Presence::Serving) => self.arrive(id, home),
            (_, presence) => {
                self.second.nobody += 1;
                // A host that is there refuses at once. One that is not lets the client wait.
                let waits = if presence == Presence::Silent { CONNECT_TIMEOUT } else { 0 };
                self.wait(id, Stage::Failing, self.now + waits);
            }
        }
    }

    fn arrive(&mut self, id: u32, home: u16) {
        self.second.arrivals += 1;
        self.seats[id as usize].home = home;
        let instance = &mut self.instances[usize::from(home)];
        let here = instance.sessions + instance.in_flight;
        let done = instance.take(self.now, self.rules.strength);
        let (bytes, sessions, in_flight) =
            (instance.memory(self.rules.strength), instance.sessions, instance.in_flight);
        self.record.memory(bytes, sessions, in_flight);
        if self.limits.as_mut().is_some_and(|limits| !limits.admit(id, home, here)) {
            self.record.refused += 1;
            self.home(id).in_flight -= 1;
            return self.wait(id, Stage::Failing, done);
        }
        self.wait(id, Stage::Arriving, done.min(self.now + CONNECT_TIMEOUT));
    }

    /// The instance has done its part. Now it is the turn of a backend.
    pub(super) fn ask(&mut self, id: u32) {
        let Some(backends) = &self.backends else { return self.open(id) };
        let ((places, queue), instance) = (backends.places(), self.home(id));
        if instance.asking < places {
            self.begin_asking(id);
        } else if instance.in_line < queue {
            instance.line.push_back(id);
            instance.in_line += 1;
            self.wait(id, Stage::InLine, self.now + LONGEST_IN_LINE);
        } else {
            self.record.refused += 1;
            self.come_to_nothing(id);
        }
    }

    fn begin_asking(&mut self, id: u32) {
        let Some(backends) = &mut self.backends else { return };
        let (backend, answer) = backends.take(self.now, self.serving);
        self.backend_of[id as usize] = backend;
        self.home(id).asking += 1;
        let latest = self.seats[id as usize].since as u32 + CONNECT_TIMEOUT;
        self.wait(id, Stage::Asking, answer.min(latest));
    }

    /// A handshake has left its backend: the first in line has its place.
    pub(super) fn pass_place_on(&mut self, home: u16) {
        let instance = &mut self.instances[usize::from(home)];
        instance.asking -= 1;
        while let Some(id) = instance.line.pop_front() {
            let seat = &self.seats[id as usize];
            if seat.stage == Stage::InLine && seat.home == home {
                instance.in_line -= 1;
                self.wheel.take_out(&mut self.seats, id);
                return self.begin_asking(id);
            }
        }
    }

    pub(super) fn home(&mut self, id: u32) -> &mut Instance {
        &mut self.instances[usize::from(self.seats[id as usize].home)]
    }

    pub(super) fn open(&mut self, id: u32) {
        if self.seats[id as usize].stage == Stage::Asking {
            self.pass_place_on(self.seats[id as usize].home);
        }
        let seat = &mut self.seats[id as usize];
        let took = self.now - seat.since as u32;
        seat.since = self.now as i32;
        let instance = &mut self.instances[usize::from(seat.home)];
        instance.in_flight -= 1;
        instance.sessions += 1;
        let (bytes, sessions, in_flight) =
            (instance.memory(self.rules.strength), instance.sessions, instance.in_flight);
        let presence = instance.presence;
        self.record.memory(bytes, sessions, in_flight);
        self.record.wait(took);
        self.record.opened += 1;
        if seat.failures > 0 {
            self.record.last_back = self.now;
        }
        self.settle(id, 1.0);
        if let Presence::Leaving { since, spread } = presence {
            let at = since + self.lots.within(spread);
            self.tell(id, at);
        }
    }
}
