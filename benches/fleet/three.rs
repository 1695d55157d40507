//! The runs that benches/fleet/real makes with three real processes: the same parameters, many seeds.

use std::{collections::BTreeMap, ops::Range};

use crate::model::{
    Millis,
    instance::Strength,
    lots::Lots,
    orders::Act,
    scenarios::{EVENT, Pace, Size, rolling},
    world::{Key, Past, Rules, World},
};

/// What the real run does, in ms where it is a time: `clients=3000 wait=2000 …`.
pub struct Parameters(BTreeMap<String, u32>);

const SEEDS: u64 = 100;
const INSTANCES: u16 = 3;

impl Parameters {
    /// An error names the argument that says nothing.
    pub fn read(arguments: &[String]) -> Result<Self, String> {
        let read = |argument: &String| {
            let (key, value) = argument.split_once('=').ok_or_else(|| format!("{argument}: not KEY=NUMBER"))?;
            Ok((key.to_owned(), value.parse().map_err(|_| format!("{argument}: not a number"))?))
        };
        arguments.iter().map(read).collect::<Result<_, String>>().map(Self)
    }

    fn get(&self, key: &str) -> Result<u32, String> {
        self.0.get(key).copied().ok_or_else(|| format!("{key}=NUMBER is missing"))
    }

    /// The figures of both runs as JSON: for each its least, its median and its most.
    pub fn figures(&self) -> Result<String, String> {
        let rolling = self.of_seeds(|pace| {
            let parts: Vec<Range<u16>> = (0..INSTANCES).map(|place| place..place + 1).collect();
            let (acts, end) = rolling(&parts, pace);
            (acts, end + 30_000)
        })?;
        let lost = self.of_seeds(|pace| {
            (vec![(EVENT, Act::Die(0..1)), (EVENT + pace.looks, Act::LookAway(0..1))], EVENT + 40_000)
        })?;
        Ok(format!("{{\"rolling\":{rolling},\"lost\":{lost}}}"))
    }

    fn of_seeds(&self, acts: impl Fn(Pace) -> (Vec<(Millis, Act)>, Millis)) -> Result<String, String> {
        let (clients, checks) = (self.get("clients")?, self.get("checks")?);
        let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for seed in 0..SEEDS {
            let pace = Pace {
                wait: self.get("wait")?,
                spread: self.get("spread")?,
                gone: self.get("gone")?,
                // It happens at any time between two checks.
                looks: Lots::new(SEEDS + seed).within(checks),
                pause: self.get("pause")?,
            };
            let (acts, end) = acts(pace);
            let size = Size { instances: INSTANCES, sessions: clients };
            let strength =
                Strength { cores: 1.0, handshake_us: f64::from(self.get("handshake_us")?), ..Strength::PLAIN };
            let world = World::run(Rules {
                seed,
                key: Key::Address,
                addresses: (0..clients).map(address).collect(),
                strength,
                past: Past::Steady,
                acts,
                end,
                ..size.rules()
            });
            let record = &world.record;
            let since = (EVENT / 1000) as usize;
            let (peak, p99) = record.arrivals(since);
            let mut note = |name: String, value: f64| all.entry(name).or_default().push(value);
            note("peak".to_owned(), f64::from(peak));
            note("p99".to_owned(), f64::from(p99));
            note("back".to_owned(), f64::from(record.last_back - EVENT) / 1000.0);
            note("nobody".to_owned(), record.nobody() as f64);
            note("ended".to_owned(), record.ended as f64);
            note("refused".to_owned(), (record.refused + record.gave_up) as f64);
            for (place, (first, last)) in world.first_parts.iter().zip(world.parts()).enumerate() {
                note(format!("first{place}"), f64::from(*first));
                note(format!("last{place}"), f64::from(last));
            }
        }
        let told = all.into_iter().map(|(name, mut values)| {
            values.sort_by(f64::total_cmp);
            let at = |share: usize| values[(values.len() - 1) * share / 2];
            format!("\"{name}\":[{},{},{}]", at(0), at(1), at(2))
        });
        Ok(format!("{{{}}}", told.collect::<Vec<_>>().join(",")))
    }
}

/// The address of a client, 127.0.1.1 and on: that of benches/reconnect/clients.mjs.
fn address(number: u32) -> u32 {
    u32::from_be_bytes([127, 0, 1, 1]) + number / 250 * 256 + number % 250
}
