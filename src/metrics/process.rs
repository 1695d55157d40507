//! What the kernel says of this process (proc(5)).

use std::{fs, time::Duration};

/// The process at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessStats {
    /// Bytes of memory that are resident.
    pub resident: usize,
    /// Open file descriptors.
    pub descriptors: usize,
    /// How many file descriptors may be open.
    pub most_descriptors: usize,
    /// Processor time used, user and system.
    pub cpu: Duration,
    /// Unix time at which the process started, in seconds.
    pub start: f64,
}

impl ProcessStats {
    /// Reads the state of the process; `None` = the kernel does not show it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "/proc is no disk")]
    pub fn read() -> Option<Self> {
        let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let boot = field::<u64>(&fs::read_to_string("/proc/stat").ok()?, "btime ")?;
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let hertz = rustix::param::clock_ticks_per_second();
        let seconds = |ticks: u64| ticks as f64 / hertz as f64;
        Some(Self {
            resident: stat.pages.saturating_mul(rustix::param::page_size()),
            // One descriptor is not counted: the one that reads the folder.
            descriptors: fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1),
            most_descriptors: field(&limits, "Max open files").unwrap_or(usize::MAX),
            cpu: Duration::from_secs_f64(seconds(stat.cpu)),
            start: boot as f64 + seconds(stat.start),
        })
    }
}

/// The fields of `/proc/self/stat` that are read.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// User and system time, in clock ticks.
    cpu: u64,
    /// When the process started, in clock ticks after the boot.
    start: u64,
    /// Resident pages.
    pages: usize,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the name in parentheses, and the name may contain anything. The third field is the first one
        // after it.
        let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
        let pages = usize::try_from(number(24)?).ok()?;
        Some(Self { cpu: number(14)?.saturating_add(number(15)?), start: number(22)?, pages })
    }
}

/// The first number behind a name at the begin of a line.
fn field<T: std::str::FromStr>(text: &str, name: &str) -> Option<T> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_does_not_move_its_fields() {
        let fields: Vec<String> = (4..=52).map(|field: u32| field.to_string()).collect();
        let stat = Stat::parse(&format!("1 (a) b (c) S {}", fields.join(" ")));
        assert_eq!(stat, Some(Stat { cpu: 14 + 15, start: 22, pages: 24 }));
        assert_eq!(Stat::parse("1 (a) S 1 2"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let process = ProcessStats::read().unwrap();
        assert!(process.resident > 100_000 && process.descriptors >= 3 && process.most_descriptors > 3, "{process:?}");
        assert!(process.start > 1.6e9, "{process:?}");
    }
}
