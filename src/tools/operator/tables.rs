//! Answers of the admin interface as people read them.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;

/// The whole of `status`.
pub(super) fn status(status: &Value) -> String {
    let listeners: Vec<_> = items(&status["listeners"]).map(text).collect();
    let parts = [format!("{}\nlistening on {}", proxy(status), listeners.join(", ")), routes(status), backends(status)];
    parts.join("\n\n")
}

/// The proxy in a line.
pub(super) fn proxy(status: &Value) -> String {
    let state = match (status["ready"].as_bool(), status["draining"].as_bool()) {
        (_, Some(true)) => "draining",
        (Some(true), _) => "ready",
        _ => "not ready",
    };
    format!(
        "longwire {}  {state}  up {}  {} sessions  {} connections  {} workers",
        text(&status["version"]),
        age(&status["uptime_ms"]),
        status["sessions"],
        status["connections"],
        status["workers"],
    )
}

pub(super) fn routes(status: &Value) -> String {
    let rows = items(&status["routes"]).map(|route| {
        let state = if route["draining"] == true { "draining" } else { "served" };
        vec![text(&route["name"]), text(&route["upstream"]), state.to_owned()]
    });
    table(&["ROUTE", "UPSTREAM", "STATE"], rows)
}

pub(super) fn backends(upstreams: &Value) -> String {
    let rows = items(&upstreams["upstreams"]).flat_map(|upstream| {
        items(&upstream["backends"]).map(|backend| {
            let health = match backend["out_for_ms"].is_null() {
                true => text(&backend["health"]),
                false => format!("{} for {}", text(&backend["health"]), age(&backend["out_for_ms"])),
            };
            let duty = if backend["down"] == true { "down (file)".to_owned() } else { text(&backend["duty"]) };
            let check = &backend["last_check"];
            let check = match (check["passed"].as_bool(), check["failure"].as_str()) {
                (Some(true), _) => "passed".to_owned(),
                (_, Some(failure)) => clean(failure),
                _ => "-".to_owned(),
            };
            let figures = ["active", "picks", "failures"].map(|key| backend[key].to_string());
            [vec![text(&upstream["name"]), text(&backend["address"]), duty, health], figures.into(), vec![check]]
                .concat()
        })
    });
    table(&["UPSTREAM", "BACKEND", "DUTY", "HEALTH", "ACTIVE", "PICKS", "FAILURES", "LAST CHECK"], rows)
}

pub(super) fn sessions(list: &Value) -> String {
    let rows = items(&list["sessions"]).map(|session| {
        let words = ["id", "client", "route", "backend"].map(|key| text(&session[key]));
        let ages = ["age_ms", "idle_ms"].map(|key| age(&session[key]));
        let sizes = ["bytes_to_backend", "bytes_to_client"].map(|key| size(&session[key]));
        let messages = format!("{}/{}", session["messages_to_backend"], session["messages_to_client"]);
        let trip = session["rtt_last_ms"].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}ms"));
        let rest = [messages, trip, size(&session["buffered_bytes"])];
        [&words[..], &ages, &sizes, &rest].concat()
    });
    let head = ["ID", "CLIENT", "ROUTE", "BACKEND", "AGE", "IDLE", "IN", "OUT", "MESSAGES", "RTT", "BUFFERED"];
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
        vec![kind.to_owned(), text(&choice[name]), age(&choice["left_ms"])]
    });
    table(&["FRAMES OF", "NAME", "ENDS IN"], rows)
}

pub(super) fn reloaded(changes: &Value) -> String {
    let mut lines = vec!["reloaded".to_owned()];
    for (key, words) in [
        ("listeners_added", "listener added"),
        ("listeners_removed", "listener removed"),
        ("backends_removed", "backend removed"),
        ("routes_removed", "route removed"),
        ("needs_restart", "needs a restart"),
    ] {
        lines.extend(items(&changes[key]).map(|name| format!("  {words:<16}  {}", text(name))));
    }
    lines.join("\n")
}

/// Columns as wide as they must be.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = [head.iter().map(ToString::to_string).collect()].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
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

/// What clients wrote must not speak to the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn size(bytes: &Value) -> String {
    match bytes.as_u64() {
        Some(bytes) if bytes < 1024 => format!("{bytes}B"),
        Some(bytes) => ByteSize::b(bytes).display().iec().to_string().replace(' ', ""),
        None => "-".to_owned(),
    }
}

/// The two largest units.
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
                "id": "a\u{1b}[2J", "client": "192.0.2.1", "route": "*/ws/", "backend": "127.0.0.1:9001",
                "age_ms": 7_260_000, "idle_ms": 12, "bytes_to_backend": 1023, "bytes_to_client": 2048,
                "messages_to_backend": 3, "messages_to_client": 4, "rtt_last_ms": 1.26, "buffered_bytes": 0
            }]
        });
        let table = sessions(&list);
        let lines: Vec<_> = table.lines().collect();
        for (name, value) in [("CLIENT", "192.0.2.1"), (" OUT", " 2.0KiB"), ("RTT", "1.3ms"), ("ID", "a\u{fffd}[2J")] {
            let column = lines[0].find(name).unwrap_or_default();
            let cell: String = lines[1].chars().skip(column).collect();
            assert!(cell.starts_with(value), "{name}: {cell}");
        }
        assert_eq!(lines[3], "1 shown, 1 match, 2 live");
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
