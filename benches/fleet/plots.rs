//! The plots of docs/scale.md.

use std::ops::Range;

use crate::{
    figures::{Figures, SINCE},
    model::record::Second,
    plot::{Curve, Panel, svg},
};

const FULLEST: &str = "the fullest instance, in units of its part of all clients";
const ARRIVALS: &str = "arrivals a second, of the whole fleet";

/// The plots, by the name of their file in docs/.
pub fn plots(figures: &[Figures]) -> Vec<(&'static str, String)> {
    let runs = Runs(figures);
    vec![
        ("scale-up.svg", runs.up()),
        ("scale-lifetime.svg", runs.lifetime()),
        ("scale-down.svg", runs.down()),
        ("scale-roll.svg", runs.roll()),
        ("scale-zone.svg", runs.zone()),
        ("scale-backend.svg", runs.backend()),
        ("scale-valkey.svg", runs.valkey()),
    ]
}

fn ratio(second: &Second) -> f64 {
    second.ratio
}

fn arrivals(second: &Second) -> f64 {
    f64::from(second.arrivals)
}

struct Runs<'a>(&'a [Figures]);

impl Runs<'_> {
    /// What these runs have, in these seconds.
    fn panel(&self, title: &'static str, names: &[&str], shown: Range<usize>, value: fn(&Second) -> f64) -> Panel {
        let found = names.iter().filter_map(|name| self.0.iter().find(|each| each.scenario.name == *name));
        let curve = |each: &Figures| Curve {
            name: each.scenario.title.clone(),
            values: each.record.seconds.iter().map(value).collect(),
        };
        Panel { title, curves: found.map(curve).collect(), floor: 0.0, since: shown.start, until: shown.end }
    }

    /// The same, from the event on.
    fn since(&self, title: &'static str, names: &[&str], seconds: usize, value: fn(&Second) -> f64) -> Panel {
        self.panel(title, names, SINCE..SINCE + seconds, value)
    }

    fn up(&self) -> String {
        let names = ["up-share", "up-stay", "up-lifetime", "up-rebalance", "up-share-most", "up-rebalance-fast"];
        let fullest = Panel { floor: 1.0, ..self.since(FULLEST, &names, 3_590, ratio) };
        // The fast one has ten times as many.
        svg("A scale-up by a third", &[fullest, self.since(ARRIVALS, &names[..5], 3_590, arrivals)])
    }

    fn lifetime(&self) -> String {
        svg("max_lifetime: 1h", &[self.since(ARRIVALS, &["lifetime-echo", "lifetime"], 7_790, arrivals)])
    }

    fn down(&self) -> String {
        let names = ["down-told", "down-no-wait", "down-15s", "down-60s"];
        svg("A quarter of the fleet leaves", &[self.since(ARRIVALS, &names, 90, arrivals)])
    }

    fn roll(&self) -> String {
        let fullest = self.since(FULLEST, &["roll-1", "roll-stay", "roll-rebalance"], 4_200, ratio);
        let came = self.since(ARRIVALS, &["roll-1", "roll-10", "roll-25", "roll-beside"], 420, arrivals);
        svg("A rolling update", &[fullest, came])
    }

    fn zone(&self) -> String {
        let slow = ["zone-backends", "zone-wide", "zone-queue", "zone-short"];
        let open = |second: &Second| f64::from(second.open) / 1e6;
        svg(
            "A third of the instances is gone at once",
            &[
                self.since(ARRIVALS, &["zone", "zone-silent"], 50, arrivals),
                self.since("sessions open, in millions", &slow, 300, open),
            ],
        )
    }

    fn backend(&self) -> String {
        let names = ["backend-5m", "backend-bound", "backend-both", "backend-1m", "backend"];
        let behind = |second: &Second| second.behind / 1000.0;
        svg(
            "A backend comes back, empty, under least_conn",
            &[
                self.since("handshakes a second for it, of 500 that it can do", &names, 590, |second| {
                    f64::from(second.watched)
                }),
                // The others never catch up.
                self.since("how far it is behind, in seconds", &names[..3], 590, behind),
            ],
        )
    }

    fn valkey(&self) -> String {
        let of_client = ["valkey-3", "valkey-10", "valkey-100", "valkey-3-address", "valkey-100-address"];
        let of_all = ["valkey-sessions", "valkey-sessions-address", "valkey-sessions-loses", "valkey-sessions-grows"];
        let percent = |second: &Second| 100.0 * (1.0 + second.deviation.over - second.deviation.under);
        svg(
            "Valkey is away from minute 5 to 15",
            &[
                self.panel(
                    "sessions of all addresses, in percent of sessions_per_client (10; each address wants 40)",
                    &of_client,
                    0..1_500,
                    percent,
                ),
                self.panel("all sessions, in percent of limits.sessions", &of_all, 0..1_500, |second| {
                    100.0 * second.deviation.sessions
                }),
            ],
        )
    }
}
