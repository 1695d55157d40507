//! The order of the rooms, from the top of the house to its ground: a room uses only rooms that stand below it.

use std::fmt::Write as _;

use super::modules::Arrows;

/// Every room of the house, from the top down. The wings of `net` stand in the order of a session's life.
pub const ROOMS: [&str; 37] = [
    "commands",
    "cli",
    "tools",
    "net::server",
    "net::operate",
    "net::front",
    "net::request",
    "net::worker",
    "net::backend",
    "net::session",
    "net::orders",
    "net::counts",
    "net::stream",
    "net::thread",
    "net::libc_calls",
    "access_log",
    "traces",
    "metrics",
    "config",
    "import",
    "lines",
    "learning",
    "explain",
    "fleet",
    "outcome",
    "error",
    "routing",
    "origins",
    "hosts",
    "discovery",
    "balance",
    "ws",
    "headers",
    "sender",
    "paths",
    "proxy_protocol",
    "sync",
];

/// The place of a module's room among `rooms`. The deepest room that holds the module counts.
fn place(rooms: &[&str], module: &str) -> Option<usize> {
    let holds = |room: &str| module.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let held = rooms.iter().enumerate().filter(|(_, room)| holds(room));
    held.max_by_key(|(_, room)| room.len()).map(|(place, _)| place)
}

/// What breaks the order, a line each, in words for somebody who sees this list for the first time.
pub fn complaints(rooms: &[&str], arrows: &Arrows<'_>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (module, used) in arrows {
        let Some(from) = place(rooms, module) else {
            // A folder that only lists its modules stands nowhere.
            if !used.is_empty() || !arrows.keys().any(|other| other.starts_with(&format!("{module}::"))) {
                complaints
                    .push(format!("{module} is in no room. Give it a place in ROOMS (tests/it/layers/order.rs)."));
            }
            continue;
        };
        for (other, items) in used {
            let Some(to) = place(rooms, other).filter(|to| *to < from) else { continue };
            let (above, below, names) = (rooms[to], rooms[from], names(items));
            complaints.push(format!(
                "{module} uses {names} of {other}, but {above} stands above {below}. Move what both need into the lower \
                 room, or let the upper room pass in what the lower room needs."
            ));
        }
    }
    complaints
}

/// The shortest circle of modules through each module that is in one, a line each; a circle is told once.
///
/// A module may use what its parent defines: that is no circle, although the parent lists the module.
pub fn circles(arrows: &Arrows<'_>) -> Vec<String> {
    let mut told: Vec<Vec<&str>> = Vec::new();
    for start in arrows.keys() {
        if told.iter().flatten().any(|module| module == start) {
            continue;
        }
        told.extend(shortest_circle(arrows, start));
    }
    let tell = |circle: &Vec<&str>| {
        let mut text = "these modules import each other in a circle:".to_owned();
        for (index, module) in circle.iter().enumerate() {
            let next = circle[(index + 1) % circle.len()];
            let _ = write!(text, "\n    {module} uses {} of {next}", names(&arrows[module][next]));
        }
        text + "\n  Move what two of them share into a file of its own."
    };
    told.iter().map(tell).collect()
}

fn shortest_circle<'a>(arrows: &Arrows<'a>, start: &'a str) -> Option<Vec<&'a str>> {
    let is_child = |module: &str, other: &str| module.starts_with(&format!("{other}::"));
    let next = |module: &'a str| {
        let used = arrows.get(module).into_iter().flat_map(|used| used.keys().copied());
        used.filter(move |other| !is_child(module, other))
    };
    let (mut ways, mut at) = (vec![vec![start]], 0);
    while at < ways.len() {
        let way = ways[at].clone();
        for module in next(way[way.len() - 1]) {
            if module == start {
                return Some(way);
            }
            if !ways.iter().any(|way| way.contains(&module)) {
                ways.push([&way[..], &[module]].concat());
            }
        }
        at += 1;
    }
    None
}

fn names(items: &std::collections::BTreeSet<&str>) -> String {
    items.iter().copied().collect::<Vec<_>>().join(", ")
}

/// The rooms as a table of text. A mark says that the room of its row uses the room of its column. Every mark stands to
/// the right of the diagonal, because a room uses only what stands below it.
pub fn picture(rooms: &[&str], arrows: &Arrows<'_>) -> String {
    let mut marks = vec![vec![' '; rooms.len()]; rooms.len()];
    for (module, used) in arrows {
        for other in used.keys() {
            if let (Some(from), Some(to)) = (place(rooms, module), place(rooms, other)) {
                marks[from][to] = '×';
            }
        }
    }
    let width = rooms.iter().map(|room| room.len()).max().unwrap_or_default();
    let mut text = format!("{:width$}   ", "");
    for number in 1..=rooms.len() {
        let _ = write!(text, " {number:>2}");
    }
    for (row, room) in rooms.iter().enumerate() {
        marks[row][row] = '\\';
        let name = room.replace("::", "/");
        let _ = write!(text, "\n{:>2} {name:width$}", row + 1);
        let cells: String = marks[row].iter().map(|mark| format!("  {mark}")).collect();
        text.push_str(cells.trim_end());
    }
    text.push('\n');
    text
}
