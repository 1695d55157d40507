//! Instances and their server in a world in which calls are late, connections and processes end, and the server forgets.

#![allow(clippy::unwrap_used)]

mod calls;

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use proptest::{collection::vec, prelude::*, sample::Index};

use self::valkey::{Store, read_command};
use super::*;
use crate::sender::{Client, Octets};

#[path = "../../tests/it/harness/valkey.rs"]
#[allow(unreachable_pub, dead_code, reason = "it belongs to the end-to-end tests")]
pub(crate) mod valkey;

const TERMS: FleetTerms = FleetTerms { lease: Duration::from_millis(3000), timeout: Duration::from_millis(50) };
const LIMITS: FleetLimits = FleetLimits { sessions: Some(7), sessions_per_client: Some(3) };
const INSTANCES: usize = 3;
const CLIENTS: u8 = 3;

/// What happens.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Ask {
        client: u8,
    },
    /// Somebody waits no more.
    GiveUp,
    EndSession(usize),
    /// A session that nobody was asked about.
    LetIn {
        client: u8,
    },
    Send,
    /// The server runs the next call.
    Serve,
    Receive,
    LoseConnection,
    Connect,
    /// The server runs a call that a lost connection has left there.
    ServeLate(usize),
    Crash,
    Empty,
    ForgetScript,
    /// Time passes, in milliseconds.
    Pass(u64),
}

struct World {
    begin: Instant,
    now: u64,
    store: Store,
    instances: Vec<Instance>,
    /// What lost connections have left at the server.
    late: Vec<VecDeque<u8>>,
    names: usize,
}

struct Instance {
    name: String,
    membership: Membership<u32>,
    is_connected: bool,
    to_server: VecDeque<u8>,
    from_server: VecDeque<u8>,
    replies: ReplyReader,
    asked: u32,
    /// Who waits for an answer.
    waiting: Vec<u32>,
    sessions: Vec<Octets>,
    /// Those that no server was asked about.
    let_in: Vec<Octets>,
}

fn network(client: u8) -> Octets {
    Client::from(IpAddr::from([192, 0, 2, client])).counted_as()
}

impl Instance {
    fn new(name: String, now: Instant) -> Self {
        let mut membership = Membership::new(now);
        membership.join("lw", &name, TERMS);
        Self {
            name,
            membership,
            is_connected: false,
            to_server: VecDeque::new(),
            from_server: VecDeque::new(),
            replies: ReplyReader::default(),
            asked: 0,
            waiting: Vec::new(),
            sessions: Vec::new(),
            let_in: Vec::new(),
        }
    }

    fn connect(&mut self, now: Instant) {
        if !self.is_connected {
            self.is_connected = true;
            self.membership.handle_connected(greeting(Some("lw"), Some("secret"), 2), now);
        }
    }

    /// Returns what the connection leaves at the server.
    fn lose(&mut self) -> VecDeque<u8> {
        self.membership.handle_lost();
        self.is_connected = false;
        self.from_server.clear();
        self.replies = ReplyReader::default();
        std::mem::take(&mut self.to_server)
    }

    fn send(&mut self, now: Instant) -> bool {
        let mut bytes = Vec::new();
        while self.is_connected && self.membership.poll_transmit(&mut bytes, now) {}
        self.to_server.extend(&bytes);
        !bytes.is_empty()
    }

    /// Reads one reply.
    fn receive(&mut self, now: Instant) -> bool {
        let mut rest = &*self.from_server.make_contiguous();
        let reply = self.replies.read(&mut rest).unwrap();
        let left = rest.len();
        self.from_server.drain(..self.from_server.len() - left);
        let Some(reply) = reply else { return false };
        match self.membership.handle_reply(reply, now).unwrap() {
            Some(FleetAnswer::Granted(asker, client)) => {
                let client = client.unwrap();
                match self.waiting.iter().position(|waiting| *waiting == asker) {
                    Some(place) => {
                        self.waiting.swap_remove(place);
                        self.sessions.push(client);
                    }
                    None => self.membership.remove(Some(client)),
                }
            }
            Some(FleetAnswer::FullOfClient(asker) | FleetAnswer::FullOfAll(asker)) => {
                self.waiting.retain(|waiting| *waiting != asker);
            }
            None => {}
        }
        true
    }

    /// What there really is, as the server should have it.
    fn real(&self) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        for client in self.sessions.iter().chain(&self.let_in) {
            *counts.entry(Client::from_octets(client).to_string()).or_default() += 1;
            *counts.entry("*".to_owned()).or_default() += 1;
        }
        counts
    }
}

impl World {
    fn new() -> Self {
        let begin = Instant::now();
        let instances = (0..INSTANCES).map(|number| Instance::new(format!("lw/{number}"), begin)).collect();
        Self { begin, now: 1000, store: Store::default(), instances, late: Vec::new(), names: INSTANCES }
    }

    fn instant(&self) -> Instant {
        self.begin + Duration::from_millis(self.now)
    }

    fn happen(&mut self, place: usize, happening: Happening) {
        let (now, instance) = (self.instant(), &mut self.instances[place]);
        match happening {
            Happening::Ask { client } => {
                instance.asked += 1;
                if instance.membership.ask(instance.asked, Some(network(client)), LIMITS, now).is_ok() {
                    instance.waiting.push(instance.asked);
                }
            }
            Happening::GiveUp => drop(instance.waiting.pop()),
            Happening::EndSession(index) => {
                let from = if index % 2 == 0 { &mut instance.sessions } else { &mut instance.let_in };
                if !from.is_empty() {
                    let client = from.swap_remove(index % from.len());
                    instance.membership.remove(Some(client));
                }
            }
            Happening::LetIn { client } => {
                instance.membership.add(Some(network(client)));
                instance.let_in.push(network(client));
            }
            Happening::Send => drop(instance.send(now)),
            Happening::Serve => drop(self.serve(place)),
            Happening::Receive => drop(instance.receive(now)),
            Happening::LoseConnection => self.lose(place),
            Happening::Connect => instance.connect(now),
            Happening::ServeLate(index) => {
                if !self.late.is_empty() {
                    let index = index % self.late.len();
                    if let Some((command, length)) = read_command(self.late[index].make_contiguous()) {
                        self.late[index].drain(..length);
                        self.store.answer(&command, self.now);
                    } else {
                        self.late.swap_remove(index);
                    }
                }
            }
            Happening::Crash => {
                self.lose(place);
                self.instances[place] = Instance::new(format!("lw/{}", self.names), now);
                self.names += 1;
            }
            Happening::Empty => self.store.empty(),
            Happening::ForgetScript => self.store.forget_script(),
            Happening::Pass(millis) => self.now += millis,
        }
    }

    fn lose(&mut self, place: usize) {
        let left = self.instances[place].lose();
        self.late.push(left);
    }

    /// Runs one call of an instance.
    fn serve(&mut self, place: usize) -> bool {
        let instance = &mut self.instances[place];
        let Some((command, length)) = read_command(instance.to_server.make_contiguous()) else { return false };
        instance.to_server.drain(..length);
        instance.from_server.extend(self.store.answer(&command, self.now));
        true
    }

    /// Everybody is connected, and does what there is to do, until nobody has anything to do.
    fn settle(&mut self) {
        let now = self.instant();
        for place in 0..INSTANCES {
            self.instances[place].connect(now);
            while self.instances[place].send(now) || self.serve(place) || self.instances[place].receive(now) {}
        }
    }

    /// Time passes while everybody renews.
    fn live_on(&mut self, mut millis: u64) {
        while millis > 0 {
            self.settle();
            let step = millis.min(400);
            self.now += step;
            millis -= step;
        }
        self.settle();
    }

    fn most_of_a_client(&self) -> usize {
        let of =
            |client| self.instances.iter().flat_map(|one| &one.sessions).filter(|one| **one == network(client)).count();
        (0..CLIENTS).map(of).max().unwrap()
    }

    fn sessions(&self) -> usize {
        self.instances.iter().map(|instance| instance.sessions.len()).sum()
    }

    /// What the server has, of each instance that lives.
    fn check_counts(&self) -> Result<(), TestCaseError> {
        for instance in &self.instances {
            prop_assert_eq!(self.store.counts_of(&instance.name, self.now), instance.real(), "{}", instance.name);
        }
        let mut names: Vec<_> = self.instances.iter().map(|instance| instance.name.clone()).collect();
        names.sort();
        prop_assert_eq!(self.store.living(self.now), names);
        Ok(())
    }

    /// What each instance knows of the others, later: a server that has lost its counts is believed again, and all have renewed.
    fn check_living(&mut self) -> Result<(), TestCaseError> {
        self.live_on(3000 + 8000);
        prop_assert!(self.instances.iter().all(|instance| instance.membership.living() == INSTANCES));
        Ok(())
    }
}

#[test]
fn a_server_that_stood_still_for_a_lease_is_not_believed_before_all_are_back() {
    let mut world = World::new();
    world.settle();
    for place in 0..INSTANCES {
        world.happen(place, Happening::Ask { client: 1 });
        world.settle();
    }
    assert_eq!(world.sessions(), 3);
    (0..INSTANCES).for_each(|place| world.lose(place));
    world.now += 3001;
    // One is back before the others, and the client wants a fourth session.
    let now = world.instant();
    world.instances[0].connect(now);
    for _ in 0..2 {
        while world.instances[0].send(now) || world.serve(0) || world.instances[0].receive(now) {}
        world.happen(0, Happening::Ask { client: 1 });
    }
    while world.instances[0].send(now) || world.serve(0) || world.instances[0].receive(now) {}
    assert_eq!(world.sessions(), 3);
    world.live_on(3000 + 8000);
    world.happen(0, Happening::Ask { client: 2 });
    world.settle();
    assert_eq!(world.sessions(), 4, "it is believed again");
}

#[test]
fn an_end_is_told_before_the_next_question() {
    let mut world = World::new();
    world.settle();
    (0..3).for_each(|_| world.happen(0, Happening::Ask { client: 1 }));
    world.settle();
    assert_eq!(world.sessions(), 3);
    world.happen(0, Happening::EndSession(0));
    world.happen(0, Happening::Ask { client: 1 });
    world.settle();
    assert_eq!(world.sessions(), 3, "the client has its place again");
}

#[test]
fn who_ends_takes_its_count_along_and_asks_nothing_more() {
    let mut world = World::new();
    world.settle();
    world.happen(0, Happening::Ask { client: 1 });
    world.settle();
    assert_eq!((world.sessions(), world.store.living(world.now).len()), (1, INSTANCES));
    world.instances[0].membership.end();
    world.happen(0, Happening::Ask { client: 1 });
    assert!(world.instances[0].waiting.is_empty() && !world.instances[0].membership.has_left());
    world.settle();
    assert!(world.instances[0].membership.has_left());
    assert_eq!(world.store.living(world.now), ["lw/1", "lw/2"]);
    assert!(world.store.counts_of("lw/0", world.now).is_empty());
    // One that is just telling its counts takes them along too.
    world.lose(2);
    world.happen(2, Happening::Connect);
    world.happen(2, Happening::Send);
    world.instances[2].membership.end();
    world.settle();
    assert!(world.instances[2].membership.has_left());
    assert_eq!(world.store.living(world.now), ["lw/1"]);
    // Without a connection there is nobody to tell.
    world.lose(1);
    world.instances[1].membership.end();
    assert!(world.instances[1].membership.has_left());
}

#[test]
fn a_slow_server_is_asked_no_more_than_it_answers() {
    let mut world = World::new();
    world.settle();
    let ask = |world: &mut World| {
        let before = world.instances[0].waiting.len();
        world.happen(0, Happening::Ask { client: 0 });
        world.instances[0].waiting.len() > before
    };
    assert!(ask(&mut world));
    world.happen(0, Happening::Send);
    world.now += 49;
    assert!(ask(&mut world), "it may still answer in time");
    world.now += 1;
    assert!(!ask(&mut world), "a question is older than anybody waits");
    assert!(!world.instances[0].membership.is_hung(world.instant()), "a slow server keeps its connection");
    world.settle();
    assert!(ask(&mut world), "it has answered");
    world.happen(0, Happening::Send);
    world.now += 1000;
    assert!(world.instances[0].membership.is_hung(world.instant()), "a third of the lease");
}

/// What happens to calls and connections, and in any fleet.
fn ordinary() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0..CLIENTS).prop_map(|client| Happening::Ask { client }),
        1 => Just(Happening::GiveUp),
        2 => any::<usize>().prop_map(Happening::EndSession),
        6 => Just(Happening::Send),
        8 => Just(Happening::Serve),
        8 => Just(Happening::Receive),
        1 => Just(Happening::LoseConnection),
        2 => Just(Happening::Connect),
        2 => any::<usize>().prop_map(Happening::ServeLate),
    ]
}

fn happenings(one: impl Strategy<Value = Happening>) -> impl Strategy<Value = Vec<(Index, Happening)>> {
    vec((any::<Index>(), one), 0..400)
}

/// Plays a script in which nobody is away for a lease. After each step, no limit is exceeded.
fn play_within_leases(script: &[(Index, Happening)]) -> Result<World, TestCaseError> {
    let mut world = World::new();
    world.settle();
    for (place, happening) in script {
        if let Happening::Pass(millis) = happening {
            world.live_on(*millis);
        } else {
            world.happen(place.index(INSTANCES), *happening);
        }
        prop_assert!(world.most_of_a_client() <= LIMITS.sessions_per_client.unwrap(), "{happening:?}");
        prop_assert!(world.sessions() <= LIMITS.sessions.unwrap(), "{happening:?}");
    }
    Ok(world)
}

proptest! {
    #[test]
    fn no_limit_is_exceeded_whatever_ends_or_is_late(script in happenings(prop_oneof![
        30 => ordinary(),
        1 => Just(Happening::Crash),
        2 => (1..1500_u64).prop_map(Happening::Pass),
    ])) {
        let mut world = play_within_leases(&script)?;
        world.live_on(3000);
        world.check_counts()?;
        world.check_living()?;
    }

    #[test]
    fn no_limit_is_exceeded_though_the_server_forgets_everything(script in happenings(prop_oneof![
        30 => ordinary(),
        1 => Just(Happening::Empty),
        1 => Just(Happening::ForgetScript),
        2 => (1..1500_u64).prop_map(Happening::Pass),
    ])) {
        let mut world = play_within_leases(&script)?;
        world.live_on(3000);
        world.check_counts()?;
        world.check_living()?;
    }

    #[test]
    fn after_any_mess_the_server_counts_what_there_is_within_a_lease(script in happenings(prop_oneof![
        30 => ordinary(),
        3 => (0..CLIENTS).prop_map(|client| Happening::LetIn { client }),
        1 => Just(Happening::Crash),
        1 => Just(Happening::Empty),
        1 => Just(Happening::ForgetScript),
        2 => (1..9000_u64).prop_map(Happening::Pass),
    ])) {
        let mut world = World::new();
        for (place, happening) in script {
            world.happen(place.index(INSTANCES), happening);
        }
        // A call that is older than the patience ends its connection.
        for place in 0..INSTANCES {
            if world.instances[place].membership.is_hung(world.instant()) {
                world.lose(place);
            }
        }
        world.live_on(3000);
        world.check_counts()?;
        world.check_living()?;
    }
}

#[test]
fn sessions_are_even_when_each_that_stays_has_as_many() {
    let instance = |sessions, is_leaving, is_ours| FleetInstance {
        member: String::new(),
        name: String::new(),
        sessions,
        is_leaving,
        is_ours,
    };
    let fleet =
        [instance(7, false, true), instance(2, false, false), instance(0, false, false), instance(90, true, false)];
    // Of us counts what is there now.
    assert_eq!(even_share(&fleet, 10), 4);
    assert_eq!(even_share(&fleet, 11), 5, "rounded up, so that nobody lets go of too many");
    assert_eq!((even_share(&[], 3), even_share(&fleet[..1], 3)), (3, 3));
    assert_eq!(even_share(&[instance(u64::MAX, false, false)], 3), usize::MAX.div_ceil(2));
}
