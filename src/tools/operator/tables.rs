//! The answers of the admin interface in a form for people.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;

/// The whole text of `status`.
pub(super) fn status(status: &Value) -> String {
    status_parts(status).join("\n\n")
}

/// Three texts: of the proxy, of its routes, of its backends.
pub(super) fn status_parts(status: &Value) -> [String; 3] {
    let listeners: Vec<_> = items(&status["listeners"]).map(text).collect();
    let routes = [routes(status), learned(status), fleet(status)];
    let routes = routes.into_iter().filter(|table| !table.is_empty()).collect::<Vec<_>>();
    let about =
        format!("{}\nlistening on {}\nconfig {}", proxy(status), listeners.join(", "), text(&status["config_hash"]));
    let about = match status["rebalance"]["state"] == "running" {
        true => format!("{about}\n{}", rebalance(&status["rebalance"])),
        false => about,
    };
    [about, routes.join("\n\n"), backends(status)]
}

/// The state of the proxy in one line.
pub(super) fn proxy(status: &Value) -> String {
    let state = match (status["ready"].as_bool(), status["draining"].as_bool()) {
        (_, Some(true)) => CellTone::Warn.paint("draining"),
        (Some(true), _) => CellTone::Good.paint("ready"),
        _ => CellTone::Warn.paint("not ready"),
    };
    let (version, up) = (text(&status["version"]), age(&status["uptime_ms"]));
    let counted = |key: &str| format!("{} {key}", number(&status[key]));
    let [sessions, connections, workers] = ["sessions", "connections", "workers"].map(counted);
    let mut sessions = CellTone::Strong.paint(&sessions);
    for state in ["held", "away"].into_iter().filter(|state| status[state].as_u64().is_some_and(|count| count > 0)) {
        sessions.push_str(&format!(", {} {state}", number(&status[state])));
    }
    format!("longwire {version}  {state}  up {up}  {sessions}  {connections}  {workers}")
}

pub(super) fn routes(status: &Value) -> String {
    let rows = items(&status["routes"]).map(|route| {
        let is_closed = items(&status["upstreams"])
            .any(|upstream| upstream["name"] == route["upstream"] && upstream["takes_new"] == false);
        let state = match (route["draining"] == true, is_closed) {
            (true, _) => Cell::toned("draining", CellTone::Warn),
            (false, true) => Cell::toned("503: no backend on duty", CellTone::Bad),
            (false, false) => Cell::toned("served", CellTone::Good),
        };
        let leads = match route["redirect"].as_u64() {
            Some(status) => format!("{status} to https"),
            None => text(&route["upstream"]),
        };
        vec![text(&route["name"]).into(), leads.into(), state]
    });
    table(&["ROUTE", "UPSTREAM", "STATE"], rows)
}

/// The intervals of pings that were learned; empty if there are none.
fn learned(status: &Value) -> String {
    let mut rows = items(&status["learned"])
        .map(|learned| {
            let seconds = learned["ping_interval_ms"].as_f64().unwrap_or_default() / 1000.0;
            let interval = Cell::from(format!("ping after {seconds}s"));
            let names = [&learned["route"], &learned["side"]].map(|name| Cell::from(text(name)));
            [&names[..], &[interval, text(&learned["since"]).into()]].concat()
        })
        .peekable();
    match rows.peek() {
        Some(_) => table(&["ROUTE", "SIDE", "LEARNED", "SINCE"], rows),
        None => String::new(),
    }
}

/// The proxies that share limits; empty if this one has its limits for itself.
fn fleet(status: &Value) -> String {
    let fleet = &status["fleet"];
    if !fleet.is_object() {
        return String::new();
    }
    let failure = fleet["failure"].as_str().map(|failure| format!(" ({})", clean(failure))).unwrap_or_default();
    let decides = match fleet["on_loss"].as_str() {
        Some("open") => "new sessions are let in",
        Some("deny") => "new sessions are refused",
        _ => "its share decides",
    };
    let rows = items(&fleet["instances"]).map(|proxy| {
        let state = match (proxy["own"] == true, fleet["connected"] == true) {
            (false, _) if proxy["leaving"] == true => Cell::toned("drains", CellTone::Warn),
            (false, _) => Cell::from("-".to_owned()),
            (true, true) => Cell::toned("this one", CellTone::Good),
            (true, false) => Cell::toned(&format!("this one, without Valkey{failure}: {decides}"), CellTone::Bad),
        };
        vec![text(&proxy["name"]).into(), Cell::number(&proxy["sessions"]), state]
    });
    table(&["PROXY", "SESSIONS", "STATE"], rows)
}

pub(super) fn backends(upstreams: &Value) -> String {
    let is_found = |backend: &Value| backend["found"].is_object();
    let any_found = items(&upstreams["upstreams"]).any(|upstream| items(&upstream["backends"]).any(is_found));
    let rows = items(&upstreams["upstreams"]).flat_map(|upstream| {
        items(&upstream["backends"]).map(|backend| {
            let names = [text(&upstream["name"]), text(&backend["address"])].map(Cell::from);
            let figures = ["active", "picks", "failures"].map(|key| Cell::number(&backend[key]));
            let found = any_found.then(|| found(&backend["found"]));
            let health = [duty(backend), health(backend)];
            [&names[..], &health, &figures, &[last_check(&backend["last_check"])], found.as_slice()].concat()
        })
    });
    let head = ["UPSTREAM", "BACKEND", "DUTY", "HEALTH", "ACTIVE", "PICKS", "FAILURES", "LAST CHECK", "FOUND"];
    let columns = if any_found { head.len() } else { head.len() - 1 };
    let mut text = table(&head[..columns], rows);
    let places = places(upstreams);
    if !places.is_empty() {
        text = format!("{text}\n\n{places}");
    }
    text
}

/// The places where backends are found; empty if there are none.
fn places(upstreams: &Value) -> String {
    let mut rows = items(&upstreams["upstreams"])
        .flat_map(|upstream| items(&upstream["places"]).map(move |place| (upstream, place)))
        .map(|(upstream, place)| {
            let state = match place["failure"].as_str() {
                Some(failure) => Cell::toned(&clean(failure), CellTone::Bad),
                None if place["backends"].is_null() => Cell::toned("not found yet", CellTone::Warn),
                None => Cell::toned("found", CellTone::Good),
            };
            let stale = if place["stale_ms"] == 0 { "-".to_owned() } else { age(&place["stale_ms"]) };
            let names = [text(&upstream["name"]), text(&place["kind"]), text(&place["name"])].map(Cell::from);
            [&names[..], &[Cell::number(&place["backends"]), Cell::from(stale), state]].concat()
        })
        .peekable();
    match rows.peek() {
        Some(_) => table(&["UPSTREAM", "KIND", "PLACE", "BACKENDS", "STALE", "STATE"], rows),
        None => String::new(),
    }
}

/// How the address of a backend was found.
fn found(found: &Value) -> Cell {
    match found.is_object() {
        true => {
            // The name of a `dns` stands in `from` already.
            let name = found["name"].as_str().filter(|_| found["by"] == "srv");
            let name = name.map(|name| format!(" ({})", clean(name))).unwrap_or_default();
            Cell::from(format!("{} {}{name}", text(&found["by"]), text(&found["from"])))
        }
        false => Cell::from("-".to_owned()),
    }
}

fn duty(backend: &Value) -> Cell {
    let duty = text(&backend["duty"]);
    match backend["down"] == true {
        true => Cell::toned("down (file)", CellTone::Warn),
        false if duty == "up" => Cell::toned("up", CellTone::Good),
        false => Cell::toned(&duty, CellTone::Warn),
    }
}

fn health(backend: &Value) -> Cell {
    let health = text(&backend["health"]);
    match &*health {
        "up" => Cell::toned("up", CellTone::Good),
        "trial" => Cell::toned("trial", CellTone::Warn),
        _ if backend["out_for_ms"].is_null() => Cell::toned(&health, CellTone::Bad),
        _ => Cell::toned(&format!("{health} for {}", age(&backend["out_for_ms"])), CellTone::Bad),
    }
}

fn last_check(check: &Value) -> Cell {
    match (check["passed"].as_bool(), check["failure"].as_str()) {
        (Some(true), _) => Cell::toned("passed", CellTone::Good),
        (_, Some(failure)) => Cell::toned(&clean(failure), CellTone::Bad),
        _ => Cell::from("-".to_owned()),
    }
}

pub(super) fn sessions(list: &Value) -> String {
    let rows = items(&list["sessions"]).map(|session| {
        let words = ["id", "state", "client", "route", "backend"].map(|key| text(&session[key]));
        let ages = ["age_ms", "idle_ms"].map(|key| age(&session[key]));
        let sizes = ["bytes_to_backend", "bytes_to_client"].map(|key| size(&session[key]));
        let messages = format!("{}/{}", session["messages_to_backend"], session["messages_to_client"]);
        let trip = session["rtt_last_ms"].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}ms"));
        let asked = [&session["host"], &session["path"]].map(|part| clean(part.as_str().unwrap_or_default())).concat();
        let rest = [messages, trip, size(&session["buffered_bytes"]), asked];
        [&words[..], &ages, &sizes, &rest].concat().into_iter().map(Cell::from).collect()
    });
    let head = [
        "ID",
        "STATE",
        "CLIENT",
        "ROUTE",
        "BACKEND",
        "AGE",
        "IDLE",
        "IN",
        "OUT",
        "MESSAGES",
        "RTT",
        "BUFFERED",
        "HOST AND PATH",
    ];
    let shown = items(&list["sessions"]).count();
    let text = table(&head, rows);
    format!("{text}\n\n{shown} shown, {} match, {} live", list["matched"], list["total"])
}

pub(super) fn killed(killed: &Value) -> String {
    match killed["killed"].as_u64() {
        Some(0) => "its end had begun already".to_owned(),
        Some(1) => format!("killed {}", text(&killed["id"])),
        _ => format!("killed {} sessions with the id {}", killed["killed"], text(&killed["id"])),
    }
}

pub(super) fn choices(chosen: &Value) -> String {
    let mut choices = items(&chosen["choices"]).peekable();
    if choices.peek().is_none() {
        return "no session is chosen".to_owned();
    }
    let rows = choices.map(|choice| {
        let (kind, name) = if choice["id"].is_null() { ("client", "client") } else { ("session", "id") };
        [kind.to_owned(), text(&choice[name]), age(&choice["left_ms"])].map(Cell::from).into()
    });
    table(&["FRAMES OF", "NAME", "ENDS IN"], rows)
}

/// The effect of an order, in words. `upstream` is the upstream of the backend that the order is about.
pub(super) fn told(answer: &Value, upstream: Option<&str>, undo: bool) -> String {
    let told = &answer["told"];
    let leaving = match told["sessions"].as_u64() {
        _ if undo => "no session is told to leave any more".to_owned(),
        None | Some(0) => "no session is told to leave".to_owned(),
        Some(1) => format!("1 session told over {}", age(&told["over_ms"])),
        Some(_) => format!("{} sessions told over {}", number(&told["sessions"]), age(&told["over_ms"])),
    };
    let named = |name: &str| items(&answer["upstreams"]).find(|upstream| upstream["name"] == name);
    let newcomers = match upstream.map(|name| named(name).is_some_and(|upstream| upstream["takes_new"] == false)) {
        Some(false) if undo => "it takes new ones",
        Some(false) => "new ones go to the other backends",
        None if undo => "new ones are served",
        // If the upstream is still closed after an undo, the cause is another backend.
        Some(true) if undo => "new ones read 503",
        Some(true) | None => "new ones read 503 until --undo",
    };
    format!("{leaving}; {newcomers}")
}

/// How a rebalance stands, in one line.
pub(super) fn rebalance(stands: &Value) -> String {
    let what = match (stands["upstream"].as_str(), stands["backend"].as_str()) {
        (Some(upstream), Some(backend)) => format!("rebalance of {}/{}", clean(upstream), clean(backend)),
        _ => "rebalance".to_owned(),
    };
    let sessions = stands["sessions"].as_u64().unwrap_or_default();
    let (all, plural) = (number(&stands["sessions"]), if sessions == 1 { "session" } else { "sessions" });
    // Absent where nobody asked the sessions.
    let left = stands["moved"].as_u64().zip(stands["ended"].as_u64()).map(|(moved, ended)| {
        let how = match moved + ended {
            0 => String::new(),
            _ => format!(" ({} moved, {} ended)", number(&stands["moved"]), number(&stands["ended"])),
        };
        format!("{} of {all} {plural} have left{how}", number(&(moved + ended).into()))
    });
    match stands["state"].as_str() {
        Some("planned") => {
            let (counted, over) = (number(&stands["counted"]), age(&stands["over_ms"]));
            let ages = match sessions {
                0 => String::new(),
                _ => format!(", aged {} to {}", age(&stands["youngest_ms"]), age(&stands["oldest_ms"])),
            };
            let moved = match stands["move_on"].as_u64() {
                None | Some(0) => String::new(),
                Some(_) => format!("; {} of them would move and not end", number(&stands["move_on"])),
            };
            let mean = match stands["fleet_mean"].as_u64() {
                None => String::new(),
                Some(_) => format!("; the mean of the fleet is {}", number(&stands["fleet_mean"])),
            };
            format!("{what}, planned: {all} of {counted} sessions would leave over {over}{ages}{moved}{mean}")
        }
        Some("running") => {
            let left = left.unwrap_or_else(|| format!("{all} of the oldest sessions leave"));
            format!("{what}, running: {left}, {} to go", age(&stands["left_ms"]))
        }
        Some("over") => format!("{what}, over: {}", left.unwrap_or_else(|| format!("{all} {plural} have left"))),
        Some("stopped") => match left {
            Some(left) => format!("{what}, stopped: no more sessions leave; {left}"),
            None => format!("{what}, stopped: no more sessions leave"),
        },
        _ => "there was no rebalance".to_owned(),
    }
}

/// The sessions at a backend, if it is the last one of its upstream that is on duty.
pub(super) fn sessions_of_last(upstreams: &Value, upstream: &str, address: &str) -> Option<u64> {
    let upstream = items(&upstreams["upstreams"]).find(|other| other["name"] == upstream)?;
    let is_on_duty = |backend: &&Value| backend["duty"] == "up" && backend["down"] != true;
    let mut on_duty = items(&upstream["backends"]).filter(is_on_duty);
    let last = on_duty.next().filter(|_| on_duty.next().is_none())?;
    (last["address"] == address).then(|| last["sessions"].as_u64().unwrap_or_default())
}

pub(super) fn reloaded(changes: &Value) -> String {
    let mut lines = vec!["reloaded".to_owned()];
    for (key, words) in [
        ("listeners_added", "listener added"),
        ("listeners_changed", "listener changed"),
        ("listeners_removed", "listener removed"),
        ("routes_added", "route added"),
        ("routes_changed", "route changed"),
        ("routes_removed", "route removed"),
        ("upstreams_added", "upstream added"),
        ("upstreams_changed", "upstream changed"),
        ("upstreams_removed", "upstream removed"),
        ("backends_added", "backend added"),
        ("backends_changed", "backend changed"),
        ("backends_removed", "backend removed"),
        ("settings_changed", "setting changed"),
        ("needs_restart", "needs a restart"),
    ] {
        lines.extend(items(&changes[key]).map(|name| format!("  {words:<16}  {}", text(name))));
    }
    if lines.len() == 1 {
        lines.push("  nothing changed".to_owned());
    }
    lines.join("\n")
}

/// The meaning of a text, which decides its colour.
#[derive(Debug, Clone, Copy)]
enum CellTone {
    Plain,
    Strong,
    /// The head of a column.
    Head,
    Good,
    Warn,
    Bad,
}

impl CellTone {
    /// The text in its colour, which is one of the eight that every terminal has.
    fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Strong => "1",
            Self::Head => "2",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The text without its colours. Every escape in it is ours: see [`clean`].
pub(super) fn plain(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[derive(Debug, Clone)]
struct Cell {
    text: String,
    tone: CellTone,
    /// Whether the text stands at the right of its column.
    is_number: bool,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: CellTone::Plain, is_number: false }
    }
}

impl Cell {
    fn toned(text: &str, tone: CellTone) -> Self {
        Self { tone, ..Self::from(text.to_owned()) }
    }

    fn number(value: &Value) -> Self {
        Self { is_number: true, ..Self::from(number(value)) }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn show(&self, width: usize) -> String {
        let (space, text) = (" ".repeat(width.saturating_sub(self.width())), self.tone.paint(&self.text));
        if self.is_number { space + &text } else { text + &space }
    }
}

/// A table whose columns are as wide as their widest cell.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<Cell>>) -> String {
    let rows: Vec<Vec<Cell>> = rows.collect();
    let heads = head.iter().enumerate().map(|(column, name)| {
        let is_number = rows.first().and_then(|row| row.get(column)).is_some_and(|cell| cell.is_number);
        Cell { is_number, ..Cell::toned(name, CellTone::Head) }
    });
    let rows: Vec<Vec<Cell>> = [heads.collect()].into_iter().chain(rows.iter().cloned()).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| cell.show(*width));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    clean(value.as_str().unwrap_or("-"))
}

/// Text of a client without control characters, so that a client cannot send commands to the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A number with commas, such as `1,204`.
fn number(value: &Value) -> String {
    let Some(number) = value.as_u64() else { return "-".to_owned() };
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn size(bytes: &Value) -> String {
    match bytes.as_u64() {
        Some(bytes) if bytes < 1024 => format!("{bytes}B"),
        Some(bytes) => ByteSize::b(bytes).display().iec().to_string().replace(' ', ""),
        None => "-".to_owned(),
    }
}

/// A time in its two largest units.
fn age(millis: &Value) -> String {
    let Some(age) = millis.as_u64().map(Duration::from_millis) else { return "-".to_owned() };
    let seconds = age.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, 0) => format!("{}ms", age.as_millis()),
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_stand_below_their_heads() {
        let list = json!({
            "matched": 1, "total": 2,
            "sessions": [{
                "id": "a\u{1b}[2J", "state": "away", "client": "192.0.2.1", "route": "*/ws/", "backend": "127.0.0.1:9001",
                "age_ms": 7_260_000, "idle_ms": 12, "bytes_to_backend": 1023, "bytes_to_client": 2048,
                "messages_to_backend": 3, "messages_to_client": 4, "rtt_last_ms": 1.26, "buffered_bytes": 0,
                "host": "chat.example.com", "path": "/ws/\u{1b}room"
            }]
        });
        let table = plain(&sessions(&list));
        let lines: Vec<_> = table.lines().collect();
        for (name, value) in [
            ("STATE", "away"),
            ("CLIENT", "192.0.2.1"),
            (" OUT", " 2.0KiB"),
            ("RTT", "1.3ms"),
            ("HOST AND PATH", "chat.example.com/ws/\u{fffd}room"),
            ("ID", "a\u{fffd}[2J"),
        ] {
            let column = lines[0].find(name).unwrap_or_default();
            let cell: String = lines[1].chars().skip(column).collect();
            assert!(cell.starts_with(value), "{name}: {cell}");
        }
        assert_eq!(lines[3], "1 shown, 1 match, 2 live");
    }

    #[test]
    fn figures_stand_at_the_right_and_colours_can_be_left_out() {
        let backend = |address, active, health| json!({ "address": address, "duty": "drain", "health": health, "active": active, "picks": 1, "failures": 0 });
        let painted = backends(&json!({
            "upstreams": [{ "name": "chat", "backends": [backend("a:1", 1_204_000, "up"), backend("b:1", 7, "failing")] }]
        }));
        assert!(painted.contains("\x1b[33mdrain\x1b[0m") && painted.contains("\x1b[31mfailing\x1b[0m"), "{painted}");
        let lines = [
            "UPSTREAM  BACKEND  DUTY   HEALTH      ACTIVE  PICKS  FAILURES  LAST CHECK",
            "chat      a:1      drain  up       1,204,000      1         0  -",
            "chat      b:1      drain  failing          7      1         0  -",
        ];
        assert_eq!(plain(&painted), lines.join("\n"));
    }

    #[test]
    fn a_backend_that_was_found_says_where_and_a_place_says_how_it_stands() {
        let backend = |address, found: Value| json!({ "address": address, "duty": "up", "health": "up", "active": 0, "picks": 0, "failures": 0, "found": found });
        let table = plain(&backends(&json!({ "upstreams": [{
            "name": "chat",
            "backends": [backend("a:1", json!({ "by": "file", "from": "/b.yaml" })), backend("b:1", Value::Null), backend("c:1", json!({ "by": "srv", "from": "_ws._tcp.c", "name": "c1" }))],
            "places": [
                { "kind": "file", "name": "/b.yaml", "backends": 1, "stale_ms": 61000, "failure": "/b.yaml:1:1: wrong" },
                { "kind": "file", "name": "/c.yaml", "stale_ms": 0 },
            ],
        }] })));
        let lines = [
            "UPSTREAM  BACKEND  DUTY  HEALTH  ACTIVE  PICKS  FAILURES  LAST CHECK  FOUND",
            "chat      a:1      up    up           0      0         0  -           file /b.yaml",
            "chat      b:1      up    up           0      0         0  -           -",
            "chat      c:1      up    up           0      0         0  -           srv _ws._tcp.c (c1)",
            "",
            "UPSTREAM  KIND  PLACE    BACKENDS  STALE  STATE",
            "chat      file  /b.yaml         1  1m 1s  /b.yaml:1:1: wrong",
            "chat      file  /c.yaml         -  -      not found yet",
        ];
        assert_eq!(table, lines.join("\n"));
    }

    #[test]
    fn sessions_without_a_backend_or_a_client_are_told_if_there_are_any() {
        let mut answer = json!({ "sessions": 1204, "held": 0, "away": 0, "connections": 1207, "workers": 2 });
        assert!(plain(&proxy(&answer)).ends_with("1,204 sessions  1,207 connections  2 workers"));
        answer["held"] = json!(1000);
        assert!(plain(&proxy(&answer)).contains("1,204 sessions, 1,000 held  1,207 connections"));
        answer["away"] = json!(20);
        assert!(plain(&proxy(&answer)).contains("1,204 sessions, 1,000 held, 20 away  1,207 connections"));
    }

    #[test]
    fn what_was_learned_stands_below_the_routes_if_anything_was() {
        let mut answer = json!({
            "version": "1.0.0", "ready": true, "draining": false, "uptime_ms": 0, "workers": 1, "sessions": 0, "connections": 0,
            "listeners": [], "routes": [{ "name": "*/", "upstream": "chat", "draining": false }], "learned": [],
        });
        assert!(!plain(&status(&answer)).contains("LEARNED"));
        answer["learned"] = json!([
            { "route": "*/", "side": "client", "ping_interval_ms": 12_500, "since": "2026-01-02T03:04:05Z" },
        ]);
        let lines = [
            "ROUTE  UPSTREAM  STATE",
            "*/     chat      served",
            "",
            "ROUTE  SIDE    LEARNED           SINCE",
            "*/     client  ping after 12.5s  2026-01-02T03:04:05Z",
        ];
        let text = plain(&status(&answer));
        assert!(text.contains(&lines.join("\n")), "{text}");
    }

    #[test]
    fn proxies_that_share_limits_are_told_and_who_decides_without_valkey() {
        assert_eq!(fleet(&json!({})), "");
        let mut answer = json!({ "fleet": {
            "connected": true, "on_loss": "deny", "living": 2,
            "instances": [{ "name": "a", "sessions": 1204, "own": true }, { "name": "b", "sessions": 7, "own": false, "leaving": true }],
        } });
        let lines = ["PROXY  SESSIONS  STATE", "a         1,204  this one", "b             7  drains"];
        assert_eq!(plain(&fleet(&answer)), lines.join("\n"));
        answer["fleet"]["connected"] = json!(false);
        answer["fleet"]["failure"] = json!("refused\x1b[2J");
        let text = plain(&fleet(&answer));
        assert!(text.contains("without Valkey (refused") && text.contains(": new sessions are refused"), "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn an_age_is_told_in_its_two_largest_units() {
        for (millis, expected) in [
            (0, "0ms"),
            (999, "999ms"),
            (59_999, "59s"),
            (61_000, "1m 1s"),
            (3_660_000, "1h 1m"),
            (90_000_000, "1d 1h"),
        ] {
            assert_eq!(age(&json!(millis)), expected);
        }
    }
}
