//! What is said of a run: a row of a table, and what must hold.

use crate::{
    model::{
        limits::Deviation,
        record::{Record, Second},
        scenarios::{AWAY, Chapter, EVENT, Scenario},
    },
    plot::number,
};

/// When it happens, in seconds.
pub const SINCE: usize = (EVENT / 1000) as usize;

/// A run and what came of it.
pub struct Figures {
    pub scenario: Scenario,
    /// Whether each client is counted once.
    pub is_sound: bool,
    pub record: Record,
}

impl Figures {
    pub fn heads(chapter: Chapter) -> Vec<&'static str> {
        match chapter {
            Chapter::Valkey => vec![
                "fleet",
                "over the limit",
                "under it",
                "most of one address",
                "sessions to their limit",
                "right again after",
                "handshakes refused",
                "arrivals a second, peak · p99",
            ],
            Chapter::Backend => vec![
                "the backend comes back with",
                "its handshakes a second, peak",
                "what it can do a second",
                "behind by, at most",
                "handshakes given up",
                "longest handshake",
            ],
            _ => vec![
                "what is done",
                "arrivals a second, peak · p99",
                "at one instance, peak",
                "longest handshake",
                "all back after",
                "even after",
                "fullest instance to its part, most · at the end",
                "memory of an instance, peak (sessions, handshakes)",
                "sessions ended",
                "found nobody",
                "refused",
                "given up",
            ],
        }
    }

    pub fn row(&self) -> Vec<String> {
        let title = self.scenario.title.clone();
        match self.scenario.chapter {
            Chapter::Valkey => self.valkey(title),
            Chapter::Backend => self.backend(title),
            _ => self.arrivals(title),
        }
    }

    fn arrivals(&self, title: String) -> Vec<String> {
        let record = &self.record;
        let (sessions, in_flight) = record.at_most_memory;
        let memory =
            || format!("{} MB ({}, {})", number((record.memory / 1e6).round()), whole(sessions), whole(in_flight));
        let ended = record.ended as f64 / f64::from(self.scenario.rules.seats);
        vec![
            title,
            self.peak_and_p99(),
            whole(record.busiest),
            if record.longest == 0 { "-".to_owned() } else { format!("{} ms", whole(record.longest)) },
            if record.ended == 0 {
                "-".to_owned()
            } else {
                self.all_back().map_or_else(|| "not in time".to_owned(), time)
            },
            record.even_after(SINCE).map_or_else(|| "not in time".to_owned(), time),
            format!("{:.2} · {:.2}", record.most_uneven(), self.last().ratio),
            if record.memory > 0.0 { memory() } else { "-".to_owned() },
            format!("{} ({:.0} %)", number(record.ended as f64), ended * 100.0),
            number(record.nobody() as f64),
            number(record.refused as f64),
            number(record.gave_up as f64),
        ]
    }

    fn backend(&self, title: String) -> Vec<String> {
        let most = |part: fn(&Second) -> f64| self.record.seconds.iter().map(part).fold(0.0, f64::max);
        let can = self.scenario.rules.backends.map_or(0.0, |backends| backends.rate);
        vec![
            title,
            number(most(|second| f64::from(second.watched))),
            number(can),
            format!("{:.1} s", most(|second| second.behind) / 1000.0),
            number(self.record.gave_up as f64),
            format!("{} ms", whole(self.record.longest)),
        ]
    }

    fn valkey(&self, title: String) -> Vec<String> {
        let last = self.before_return();
        let has_limit = self.scenario.rules.limits.is_some_and(|limits| limits.sessions > 0);
        let of_clients = |value: f64| if has_limit { "-".to_owned() } else { format!("{:.0} %", value * 100.0) };
        vec![
            title,
            of_clients(last.over),
            of_clients(last.under),
            if has_limit { "-".to_owned() } else { whole(last.most) },
            if has_limit { format!("{:.2}", last.sessions) } else { "-".to_owned() },
            self.right_again().map_or_else(|| "not in time".to_owned(), time),
            number(self.record.refused as f64),
            self.peak_and_p99(),
        ]
    }

    fn peak_and_p99(&self) -> String {
        let (peak, p99) = self.record.arrivals(SINCE);
        format!("{} · {}", whole(peak), whole(p99))
    }

    pub fn last(&self) -> Second {
        self.record.seconds.last().copied().unwrap_or_default()
    }

    /// The seconds until the last client is back; `None` where some are still away at the end.
    pub fn all_back(&self) -> Option<usize> {
        let rules = &self.scenario.rules;
        // Where users come and go, some are always on the way.
        let on_the_way = if rules.stay.is_some() || rules.max_lifetime.is_some() { rules.seats / 100 } else { 0 };
        let is_back = self.last().open + on_the_way >= rules.seats;
        is_back.then(|| ((self.record.last_back / 1000) as usize + 1).saturating_sub(SINCE))
    }

    /// How far the fleet is from its limits just before Valkey comes back.
    pub fn before_return(&self) -> Deviation {
        self.record.seconds.get((AWAY.end / 1000) as usize - 1).map(|second| second.deviation).unwrap_or_default()
    }

    /// The seconds from Valkey's return on until nobody is over a limit.
    fn right_again(&self) -> Option<usize> {
        let back = (AWAY.end / 1000) as usize;
        let has_limit = self.scenario.rules.limits.is_some_and(|limits| limits.sessions > 0);
        let is_over =
            |second: &Second| if has_limit { second.deviation.sessions > 1.0 } else { second.deviation.over > 0.0 };
        match self.record.seconds.iter().rposition(is_over) {
            Some(last) if last + 1 == self.record.seconds.len() => None,
            Some(last) => Some((last + 1).saturating_sub(back)),
            None => Some(0),
        }
    }
}

fn whole(value: u32) -> String {
    number(f64::from(value))
}

fn time(seconds: usize) -> String {
    match seconds {
        ..=180 => format!("{seconds} s"),
        _ => format!("{:.0} min", seconds as f64 / 60.0),
    }
}
