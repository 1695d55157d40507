//! The whole of it: clients, the balancer, instances and backends, in steps of 10 ms of virtual time.

use std::ops::Range;

use super::{
    Millis,
    backends::{BackendRules, Backends},
    client::{CONNECT_TIMEOUT, PROVEN, Told, delay},
    instance::{Instance, Presence, Strength},
    limits::{LimitRules, Limits},
    lots::Lots,
    maglev::{Table, hash_of_address},
    orders::Act,
    record::{Record, Second},
    seat::{Seat, Stage},
    wheel::{STEP_MILLIS, Wheel},
};

/// What the balancer hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Addresses and ports: each connection is a new flow.
    Flow,
    /// The client's address alone: it comes back to its instance, as long as that one is in turn.
    Address,
}

/// When the sessions that are there at the start have begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Long ago, each at its own time, so that as many end as begin.
    Steady,
    /// Within this time before the start.
    Fresh(Millis),
    /// There are none: all clients come within this time.
    Empty(Millis),
}

/// A run: what there is, and what is done to it.
#[derive(Debug, Clone)]
pub struct Rules {
    pub seed: u64,
    pub seats: u32,
    pub instances: u16,
    /// Those that are there at the start.
    pub at_start: Range<u16>,
    pub key: Key,
    /// The addresses of the clients, in their order; a number of its own for each where this is empty.
    pub addresses: Vec<u32>,
    pub strength: Strength,
    pub past: Past,
    /// How long users stay, in the mean; `None` = for ever.
    pub stay: Option<Millis>,
    pub max_lifetime: Option<Millis>,
    pub backends: Option<BackendRules>,
    pub limits: Option<LimitRules>,
    pub acts: Vec<(Millis, Act)>,
    pub end: Millis,
}

#[derive(Debug)]
pub struct World {
    pub(super) rules: Rules,
    pub(super) seats: Vec<Seat>,
    pub(super) wheel: Wheel,
    pub(super) instances: Vec<Instance>,
    length: usize,
    pub(super) table: Table,
    /// Instances that serve.
    pub(super) serving: u32,
    pub(super) lots: Lots,
    pub(super) backends: Option<Backends>,
    /// The backend of each session, where there are backends.
    pub(super) backend_of: Vec<u16>,
    pub(super) limits: Option<Limits>,
    pub(super) now: Millis,
    pub(super) second: Second,
    pub record: Record,
    /// The sessions of each instance at the start.
    pub first_parts: Vec<u32>,
}

/// Of a longest life, so much is taken off by lot: `src/ws/session/notice.rs`.
const LIFETIME_LOT: f64 = 0.1;

impl World {
    /// Runs it to its end.
    pub fn run(rules: Rules) -> Self {
        let mut world = Self::new(rules);
        let mut acts = std::mem::take(&mut world.rules.acts);
        acts.sort_by_key(|(at, _)| *at);
        let mut acts = acts.into_iter().peekable();
        for step in 0..=world.rules.end / STEP_MILLIS {
            world.now = step * STEP_MILLIS;
            world.wheel.turn_to(step);
            let mut is_changed = false;
            while let Some((_, act)) = acts.next_if(|(at, _)| *at <= world.now) {
                world.act(&act);
                is_changed = true;
            }
            if is_changed {
                world.build_table();
            }
            while let Some(id) = world.wheel.pop(&mut world.seats) {
                world.go_on(id);
            }
            if world.now % 1000 == 1000 - STEP_MILLIS {
                world.note_second();
            }
        }
        world
    }

    fn new(rules: Rules) -> Self {
        let instances: Vec<_> =
            (0..rules.instances).map(|place| Instance::new(rules.at_start.contains(&place))).collect();
        let mut world = Self {
            seats: vec![Seat::default(); rules.seats as usize],
            wheel: Wheel::new(rules.end),
            length: Table::length(instances.len()),
            table: Table::new(2, &[]),
            serving: 0,
            lots: Lots::new(rules.seed),
            backends: rules.backends.map(Backends::new),
            backend_of: vec![0; if rules.backends.is_some() { rules.seats as usize } else { 0 }],
            limits: rules.limits.map(|limits| Limits::new(limits, rules.seats, instances.len())),
            now: 0,
            second: Second::default(),
            record: Record::default(),
            first_parts: Vec::new(),
            instances,
            rules,
        };
        world.build_table();
        (0..world.rules.seats).for_each(|id| world.begin(id));
        world.note_memory();
        world.first_parts = world.instances.iter().map(|instance| instance.sessions).collect();
        world
    }

    /// Whether the counts of the instances are those of the clients.
    pub fn is_sound(&self) -> bool {
        let mut counts = vec![[0; 4]; self.instances.len()];
        for seat in &self.seats {
            let [sessions, in_flight, asking, in_line] = &mut counts[usize::from(seat.home)];
            *sessions += u32::from(seat.has_session());
            *in_flight += u32::from(seat.is_in_flight());
            *asking += u32::from(seat.stage == Stage::Asking);
            *in_line += u32::from(seat.stage == Stage::InLine);
        }
        let here: u32 = counts.iter().map(|[sessions, in_flight, ..]| sessions + in_flight).sum();
        let of_instance =
            |instance: &Instance| [instance.sessions, instance.in_flight, instance.asking, instance.in_line as u32];
        self.instances.iter().map(of_instance).eq(counts)
            && self.limits.as_ref().is_none_or(|limits| limits.total() == here)
    }

    /// The sessions of each instance.
    pub fn parts(&self) -> impl Iterator<Item = u32> {
        self.instances.iter().map(|instance| instance.sessions)
    }

    pub(super) fn build_table(&mut self) {
        let in_turn: Vec<_> = self.instances.iter().map(|instance| instance.is_in_turn).collect();
        self.table = Table::new(self.length, &in_turn);
        self.serving = self.instances.iter().filter(|instance| instance.presence == Presence::Serving).count() as u32;
    }

    /// How a client is at the start.
    fn begin(&mut self, id: u32) {
        if let Past::Empty(within) = self.rules.past {
            let at = self.lots.within(within);
            return self.wheel.put(&mut self.seats, id, at);
        }
        let Some(home) = self.choose(id) else { return };
        let life = self.rules.max_lifetime.unwrap_or(3_600_000);
        let age = match self.rules.past {
            Past::Steady => self.lots.within(life),
            Past::Fresh(within) | Past::Empty(within) => self.lots.within(within),
        };
        if let Some(backends) = &mut self.backends {
            self.backend_of[id as usize] = backends.begin_with(id);
        }
        let (seat, instance) = (&mut self.seats[id as usize], &mut self.instances[usize::from(home)]);
        (seat.home, seat.since) = (home, -(age as i32));
        instance.sessions += 1;
        self.settle(id, 1.0 - f64::from(age) / f64::from(life));
    }

    /// The instance to which the balancer sends a client.
    pub(super) fn choose(&mut self, id: u32) -> Option<u16> {
        let hash = match self.rules.key {
            Key::Flow => self.lots.number(),
            Key::Address => {
                let of_limits = self.limits.as_ref().map(|limits| limits.address(id));
                let address = self.rules.addresses.get(id as usize).copied().or(of_limits);
                hash_of_address(address.unwrap_or(id))
            }
        };
        self.table.instance(hash)
    }

    /// What was due has come.
    fn go_on(&mut self, id: u32) {
        let seat = self.seats[id as usize];
        let is_late = i64::from(self.now) - i64::from(seat.since) >= i64::from(CONNECT_TIMEOUT);
        match seat.stage {
            Stage::Away => self.attempt(id),
            Stage::Arriving | Stage::Asking if is_late => {
                self.record.gave_up += 1;
                self.come_to_nothing(id);
            }
            Stage::Arriving => self.ask(id),
            Stage::Asking => self.open(id),
            Stage::InLine => {
                self.record.refused += 1;
                self.come_to_nothing(id);
            }
            Stage::Failing => self.retry(id, Told::Nothing),
            Stage::Open => self.change_user(id),
            Stage::Told => {
                self.leave(id);
                self.lose(id, Told::Restart);
            }
            Stage::Unaware => self.lose(id, Told::Nothing),
        }
    }

    /// How long a session goes on that has this share of its life before it.
    pub(super) fn settle(&mut self, id: u32, left: f64) {
        self.seats[id as usize].stage = Stage::Open;
        let stays = self.rules.stay.map(|mean| self.lots.life(mean));
        let lives = self
            .rules
            .max_lifetime
            .map(|longest| (f64::from(longest) * (1.0 - LIFETIME_LOT * self.lots.share()) * left) as Millis);
        match (stays, lives) {
            (None, None) => {}
            (Some(stays), lives) if lives.is_none_or(|lives| stays <= lives) => {
                self.wait(id, Stage::Open, self.now + stays)
            }
            (_, lives) => self.wait(id, Stage::Told, self.now + lives.unwrap_or(0)),
        }
    }

    /// A session is told to leave at this instant.
    pub(super) fn tell(&mut self, id: u32, at: Millis) {
        self.wheel.take_out(&mut self.seats, id);
        self.wait(id, Stage::Told, at);
    }

    /// A user leaves, and another one comes.
    fn change_user(&mut self, id: u32) {
        self.leave(id);
        self.seats[id as usize].failures = 0;
        self.attempt(id);
    }

    /// A handshake is over without a session.
    pub(super) fn come_to_nothing(&mut self, id: u32) {
        self.drop_handshake(id);
        self.retry(id, Told::Nothing);
    }

    pub(super) fn drop_handshake(&mut self, id: u32) {
        let seat = self.seats[id as usize];
        self.home(id).in_flight -= 1;
        self.forget(id, seat.stage == Stage::Asking);
        match seat.stage {
            Stage::Asking => self.pass_place_on(seat.home),
            Stage::InLine => self.home(id).in_line -= 1,
            _ => {}
        }
    }

    /// A session leaves its instance.
    pub(super) fn leave(&mut self, id: u32) {
        self.home(id).sessions -= 1;
        self.forget(id, true);
    }

    /// Nothing is counted for it any more.
    fn forget(&mut self, id: u32, has_backend: bool) {
        if let Some(limits) = &mut self.limits {
            limits.leave(id, self.seats[id as usize].home);
        }
        if let (Some(backends), true) = (&mut self.backends, has_backend) {
            backends.leave(self.backend_of[id as usize]);
        }
    }

    /// A client learns that its session is gone.
    pub(super) fn lose(&mut self, id: u32, told: Told) {
        self.record.ended += 1;
        let seat = &mut self.seats[id as usize];
        if i64::from(self.now) - i64::from(seat.since) >= i64::from(PROVEN) {
            seat.failures = 0;
        }
        self.retry(id, told);
    }

    pub(super) fn retry(&mut self, id: u32, told: Told) {
        let seat = &mut self.seats[id as usize];
        let failures = seat.failures;
        seat.failures = failures.saturating_add(1);
        let at = self.now + delay(told, failures, &mut self.lots);
        self.wait(id, Stage::Away, at);
    }

    pub(super) fn wait(&mut self, id: u32, stage: Stage, at: Millis) {
        self.seats[id as usize].stage = stage;
        self.wheel.put(&mut self.seats, id, at);
    }

    fn note_memory(&mut self) {
        for instance in &self.instances {
            let bytes = instance.memory(self.rules.strength);
            self.record.memory(bytes, instance.sessions, instance.in_flight);
        }
    }

    fn note_second(&mut self) {
        let in_turn = || self.instances.iter().filter(|instance| instance.is_in_turn);
        let most = in_turn().map(|instance| instance.sessions).max().unwrap_or(0);
        let part = f64::from(self.rules.seats) / in_turn().count().max(1) as f64;
        let watched = self.backends.as_mut().map_or(0, |backends| std::mem::take(&mut backends.watched));
        self.record.seconds.push(Second {
            ratio: f64::from(most) / part,
            open: self.parts().sum(),
            watched: watched as u32,
            behind: self.backends.as_ref().map_or(0.0, |backends| backends.behind(0, self.now)),
            deviation: self.limits.as_ref().map(Limits::deviation).unwrap_or_default(),
            ..std::mem::take(&mut self.second)
        });
        for instance in &mut self.instances {
            self.record.busiest = self.record.busiest.max(std::mem::take(&mut instance.arrivals));
        }
    }
}
