//! The result of a run, for people and as JSON.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use super::{BenchOptions, Load, tally::BenchTally};

/// If the tool used more than this share of its threads' time, the run measured the tool.
const SATURATED: f64 = 0.9;

/// The result of a run.
#[derive(Debug)]
pub struct BenchReport {
    pub(super) options: BenchOptions,
    pub(super) tally: BenchTally,
    /// From the first message that could be sent to the last.
    pub(super) window: Duration,
    /// The tool's own user and system time in the window.
    pub(super) cpu: Duration,
}

impl BenchReport {
    /// Whether nothing was wrong: every connection opened, none closed unexpectedly, every message came back as it was sent.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.tally.is_sound()
    }

    /// The whole result as JSON. The keys say whether a value is in seconds, microseconds or bytes.
    #[must_use]
    pub fn json(&self) -> Value {
        let Self { options, tally, window, .. } = self;
        let (mode, rate, pipeline) = match options.load {
            Load::Idle => ("idle", None, None),
            Load::Handshakes => ("connect", None, None),
            Load::Saturate { depth } => ("saturate", None, Some(depth)),
            Load::Rate(rate) => ("rate", Some(rate), None),
        };
        json!({
            "url": options.target.to_string(),
            "mode": mode,
            "connections": options.connections,
            "threads": options.threads,
            "rate": rate,
            "pipeline": pipeline,
            "size_bytes": options.size,
            "binary": options.binary,
            "duration_s": window.as_secs_f64(),
            "opened": tally.opened,
            "failures": tally.failures,
            "done": tally.done_in_time,
            "done_per_s": self.per_second(),
            "differing": tally.differing,
            "lost": tally.lost(),
            "pings": tally.pings,
            "closes": tally.closes,
            "breaches": tally.breaches,
            "close_unanswered": tally.silent,
            "latency_from": self.latency_from(),
            "latency_us": {
                "min": micros(tally.latency.min()),
                "mean": tally.latency.mean() / 1e3,
                "p50": self.quantile(0.5),
                "p90": self.quantile(0.9),
                "p99": self.quantile(0.99),
                "p999": self.quantile(0.999),
                "max": micros(tally.latency.max()),
            },
            "own_cpu_s": self.cpu.as_secs_f64(),
            "own_cpu_us_each": self.own_cost(),
            "own_cpu_share": self.share(),
            "ok": self.is_sound(),
        })
    }

    fn per_second(&self) -> f64 {
        self.tally.done_in_time as f64 / self.window.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Microseconds of the tool's CPU time per message or handshake; `None` = nothing was done.
    fn own_cost(&self) -> Option<f64> {
        let done = self.tally.done_in_time;
        (done > 0).then(|| self.cpu.as_secs_f64() * 1e6 / done as f64)
    }

    /// The share of the threads' time that the tool used; 1 = all threads were always busy.
    fn share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.window.as_secs_f64().max(f64::MIN_POSITIVE) / self.options.threads as f64
    }

    /// A quantile of the latency, in microseconds.
    fn quantile(&self, quantile: f64) -> f64 {
        micros(self.tally.latency.value_at_quantile(quantile))
    }

    const fn latency_from(&self) -> &'static str {
        match self.options.load {
            Load::Rate(_) => "schedule",
            Load::Saturate { .. } => "sending",
            Load::Handshakes => "connecting",
            Load::Idle => "nothing",
        }
    }

    fn latency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("latency     ")?;
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            write!(f, " {name} {} ", time(self.quantile(quantile)))?;
        }
        writeln!(f, " max {}", time(micros(self.tally.latency.max())))?;
        writeln!(
            f,
            "             {}",
            match self.options.load {
                Load::Rate(_) => {
                    "from the moment each message was due by the schedule: what waited behind a stall counts in full\n             \
                 (corrected for coordinated omission)"
                }
                Load::Saturate { .. } => {
                    "from sending: a closed loop waits for its answers and so hides stalls (coordinated omission);\n             \
                 for latencies as users have them give a rate: -r"
                }
                Load::Handshakes | Load::Idle => "from connecting to the 101, TLS included",
            }
        )
    }

    fn wrongs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BenchTally { failures, closes, breaches, differing, silent, .. } = &self.tally;
        for (why, count) in failures {
            writeln!(f, "WRONG        {} not opened: {why}", thousands(*count))?;
        }
        for (code, count) in closes {
            let note = match code {
                1005 => " (a Close without a code)",
                1006 => " (no Close frame)",
                _ => "",
            };
            writeln!(f, "WRONG        {} closed unexpectedly with {code}{note}", thousands(*count))?;
        }
        for (breach, count) in breaches {
            writeln!(f, "WRONG        {} broke the protocol: {breach}", thousands(*count))?;
        }
        for (count, what) in [
            (*differing, "messages came back different from what was sent"),
            (self.tally.lost(), "messages did not come back"),
            (*silent, "connections did not answer the final Close"),
        ] {
            if count > 0 {
                writeln!(f, "WRONG        {} {what}", thousands(count))?;
            }
        }
        if self.tally.opened == 0 {
            writeln!(f, "WRONG        no connection")?;
        }
        Ok(())
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, tally, window, .. } = self;
        let kind = if options.binary { "binary" } else { "text" };
        let what = match options.load {
            Load::Idle => "idle".to_owned(),
            Load::Handshakes => "connect, upgrade, close, again".to_owned(),
            Load::Saturate { depth } => format!("{} B {kind}, {depth} in flight each", thousands(options.size as u64)),
            Load::Rate(rate) => format!("{} B {kind}, {rate}/s each", thousands(options.size as u64)),
        };
        let connections = thousands(options.connections as u64);
        writeln!(f, "{}   {connections} connections, {what}, {:.1} s", options.target, window.as_secs_f64())?;
        writeln!(f)?;
        let (done, rate) = (thousands(tally.done_in_time), thousands(self.per_second().round() as u64));
        match options.load {
            Load::Idle => writeln!(f, "pings        {} received and answered", thousands(tally.pings))?,
            Load::Handshakes => writeln!(f, "handshakes   {done}   {rate}/s")?,
            Load::Saturate { .. } | Load::Rate(_) => {
                writeln!(f, "messages     {done}   {rate}/s   every byte compared")?;
                writeln!(f, "opened       {}   pings answered {}", thousands(tally.opened), thousands(tally.pings))?;
            }
        }
        if !matches!(options.load, Load::Idle) && tally.done > 0 {
            self.latency(f)?;
        }
        let share = self.share() * 100.0;
        match self.own_cost() {
            Some(each) => writeln!(f, "own cost     {each:.2} us CPU each, {share:.0} % of its threads' time")?,
            None => writeln!(f, "own cost     {share:.1} % of its threads' time")?,
        }
        if self.share() > SATURATED {
            writeln!(
                f,
                "             saturated: this tool was the limit; more --threads, if there are cores for them"
            )?;
        }
        self.wrongs(f)
    }
}

/// The number with a comma before every third digit from the right.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// A time, given in microseconds, in the unit that is easiest to read.
fn time(micros: f64) -> String {
    match micros {
        _ if micros < 1e3 => format!("{micros:.0} us"),
        _ if micros < 1e6 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([12.4, 1234.0, 2_500_000.0].map(time), ["12 us", "1.23 ms", "2.50 s"]);
    }
}
