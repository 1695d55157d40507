//! The presets as people and programs read them: a table, one entry, JSON, pages of Markdown.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::{Value as Json, json};

use super::{Activity, Figures, Limit, Manner, PRESETS, Preset, interval};

/// The text above the table of the page.
const HEAD: &str = "# What stands on a path

<!-- `longwire paths --markdown` prints this page. Change src/paths/presets.rs, then print the page again. -->

Load balancers, proxies, firewalls and NAT end a connection that is silent for too long, and some end each connection at an age.
This page lists what is known of them, and who says so. Name in `via` which of them stand on your path, and longwire pings often enough
for them: [the path](behaviour.md#the-path). `longwire paths` prints the same as a table, `longwire paths NAME` one entry, and
`longwire paths --json` everything for programs.

- **silence**: it ends a connection after so long without activity, unless its people set another limit (**range**, where that is known).
- **counts**: what is activity, and **ends by**: how it ends a connection. [The words](#the-words) are explained below.
- **life**: it ends a connection at this age, however busy the connection is. *unless set*: its people set this life themselves.
- **interval**: what `ping_interval: auto` is over such a part alone: two fifths of the silence, at most 25 s, at least 5 s.
- **?** behind a name: no page of its vendor says so. The figure is from reports or from use: measure before you rely on it.

| name | what | silence | range | counts | ends by | life | interval | who says so, read on |
|---|---|---|---|---|---|---|---|---|
";

/// What stands below the table for people.
const LEGEND: &str = "? no page of its vendor says so: measure before you rely on it\n\
                      `longwire paths NAME` prints the range, the meaning of the words, and who says so";

/// The list of `longwire paths --json`.
#[must_use]
pub fn json<'p>(presets: impl IntoIterator<Item = &'p Preset>) -> Json {
    let seconds = |figure: Option<Duration>| figure.map(|figure| figure.as_secs());
    presets
        .into_iter()
        .map(|preset| {
            json!({
                "name": preset.name,
                "idle_s": seconds(preset.idle),
                "idle_range_s": preset.idle_range.map(|(low, high)| [low.as_secs(), high.as_secs()]),
                "counts": preset.counts.as_str(),
                "dies": preset.dies.as_str(),
                "max_life_s": seconds(preset.max_life),
                "settable": preset.settable,
                "source": preset.source,
                "checked": preset.checked,
            })
        })
        .collect()
}

/// A table for people, with a line for each preset.
#[must_use]
pub fn table() -> String {
    let head = ["NAME", "SILENCE", "COUNTS", "ENDS BY", "LIFE", "WHAT"].map(str::to_owned);
    let rows = PRESETS.iter().map(|preset| {
        let name = format!("{}{}", preset.name, if preset.checked.is_some() { "" } else { " ?" });
        let [silence, life] = [brief(preset.idle), preset.life("-")];
        [name, silence, preset.counted("-"), preset.manner("-"), life, preset.title.to_owned()]
    });
    let rows: Vec<_> = [head].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text + "\n" + LEGEND
}

/// Everything that is known of one preset, for people.
#[must_use]
pub fn entry(preset: &Preset) -> String {
    let Preset { name, title, note, idle, idle_range, counts, dies, max_life, grace, source, checked, .. } = preset;
    let mut lines = vec![("silence", brief(*idle))];
    lines.extend(idle_range.map(|range| ("range", span(range))));
    if idle.is_some() {
        lines.push(("counts", format!("{counts}: {}", counts.meaning())));
        lines.push(("interval", preset.interval()));
    }
    if idle.or(*max_life).is_some() {
        lines.push(("ends by", format!("{dies}: {}", dies.meaning())));
    }
    lines.push(("life", preset.life("none")));
    lines.extend(grace.map(|grace| ("grace", format!("{} from SIGTERM to SIGKILL", words(grace)))));
    lines.push(("source", (*source).to_owned()));
    lines.push((
        "checked",
        checked.unwrap_or("no page of its vendor says so: measure before you rely on it").to_owned(),
    ));
    let mut text = format!("{name}: {title}\n");
    for (label, value) in lines {
        let _ = writeln!(text, "  {label:8}  {}", if value == "-" { "no limit" } else { &value });
    }
    if !note.is_empty() {
        let _ = writeln!(text, "\n{note}");
    }
    text
}

/// The page: docs/paths.md.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(HEAD);
    for preset in PRESETS {
        let Preset { name, title, note, idle, source, checked, .. } = preset;
        let mark = if checked.is_some() { "" } else { " ?" };
        let what = if note.is_empty() { (*title).to_owned() } else { format!("{title}. {note}") };
        let range = preset.idle_range.map_or_else(|| "–".to_owned(), span);
        let who = link(source) + &checked.map(|day| format!(", {day}")).unwrap_or_default();
        let (silence, counts, life) = (brief(*idle).replace('-', "–"), preset.counted("–"), preset.life("–"));
        let dies = preset.manner("–");
        let interval = if idle.is_some() { preset.interval() } else { "–".to_owned() };
        let _ = writeln!(
            text,
            "| `{name}`{mark} | {what} | {silence} | {range} | {counts} | {dies} | {life} | {interval} | {who} |"
        );
    }
    text.push_str("\n## The words\n\nWhat counts as activity:\n\n");
    for activity in Activity::ALL {
        let _ = writeln!(text, "- `{activity}`: {}.", activity.meaning());
    }
    text.push_str("\nHow a connection ends:\n\n");
    for manner in Manner::ALL {
        let _ = writeln!(text, "- `{manner}`: {}.", manner.meaning());
    }
    text + "\n## By silence and by age\n\n" + &by_figure()
}

/// Two tables of Markdown: who ends a connection after a silence, and who at an age; the shortest first.
#[must_use]
pub fn by_figure() -> String {
    let silences = grouped(|preset| preset.idle);
    let lives = grouped(|preset| preset.max_life);
    let mut text = String::from("| silence | who ends a connection then |\n|---|---|\n");
    for (silence, presets) in silences {
        let titles: Vec<_> = presets.iter().map(|preset| preset.told()).collect();
        let _ = writeln!(text, "| {} | {} |", words(silence), titles.join("; "));
    }
    text.push_str("\n| age | who ends a connection then, however busy it is |\n|---|---|\n");
    for (life, presets) in lives {
        let unless_set = |preset: &Preset| if preset.life_settable { " (unless set)" } else { "" };
        let titles: Vec<_> = presets.iter().map(|preset| preset.told() + unless_set(preset)).collect();
        let _ = writeln!(text, "| {} | {} |", words(life), titles.join("; "));
    }
    text
}

impl Preset {
    /// How people call it, and whether that is only reported.
    fn told(&self) -> String {
        format!("{}{}", self.title, if self.checked.is_some() { "" } else { " (reported)" })
    }

    fn counted(&self, none: &str) -> String {
        if self.idle.is_some() { self.counts.to_string() } else { none.to_owned() }
    }

    /// Nobody knows how a thing without a limit ends a connection.
    fn manner(&self, none: &str) -> String {
        if self.idle.or(self.max_life).is_some() { self.dies.to_string() } else { none.to_owned() }
    }

    fn life(&self, none: &str) -> String {
        match self.max_life {
            Some(life) if self.life_settable => format!("{} unless set", words(life)),
            Some(life) => words(life),
            None => none.to_owned(),
        }
    }

    /// The interval of pings that holds it.
    fn interval(&self) -> String {
        words(interval([&Limit::of(self, Figures::default())]).value)
    }
}

fn grouped(figure: impl Fn(&Preset) -> Option<Duration>) -> BTreeMap<Duration, Vec<&'static Preset>> {
    let mut groups: BTreeMap<Duration, Vec<&Preset>> = BTreeMap::new();
    for preset in PRESETS {
        if let Some(figure) = figure(preset) {
            groups.entry(figure).or_default().push(preset);
        }
    }
    groups
}

fn brief(figure: Option<Duration>) -> String {
    figure.map_or_else(|| "-".to_owned(), words)
}

fn span((low, high): (Duration, Duration)) -> String {
    format!("{} to {}", words(low), words(high))
}

/// A duration as the file takes it. Below two minutes people count in seconds.
fn words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds > 0 && seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds > 0 && seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
        seconds if seconds >= 120 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

/// A source as a link of Markdown: the address with its host as the text, then the words behind the address.
fn link(source: &str) -> String {
    let (address, rest) = source.split_once(' ').map_or((source, ""), |(address, rest)| (address, rest));
    let Some(host) = address.strip_prefix("https://").and_then(|rest| rest.split('/').next()) else {
        return source.to_owned();
    };
    format!("[{host}]({address}) {rest}").trim_end().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::paths::preset;

    #[test]
    fn json_has_these_keys_and_null_where_a_thing_has_no_limit() {
        let list = json(PRESETS);
        assert_eq!(list.as_array().unwrap().len(), PRESETS.len());
        let keys = ["checked", "counts", "dies", "idle_range_s", "idle_s", "max_life_s", "name", "settable", "source"];
        for row in list.as_array().unwrap() {
            assert!(row.as_object().unwrap().keys().eq(keys), "{row}");
            assert!(
                row["settable"].is_boolean() && row["source"].as_str().is_some_and(|text| !text.is_empty()),
                "{row}"
            );
        }
        let row = |name| json(preset(name))[0].clone();
        let alb = row("aws_alb");
        assert_eq!((&alb["idle_s"], &alb["idle_range_s"]), (&json!(60), &json!([1, 4000])));
        assert_eq!((&alb["counts"], &alb["dies"], &alb["max_life_s"]), (&json!("bytes"), &json!("fin"), &Json::Null));
        let gcp = row("gcp_alb");
        assert_eq!((&gcp["idle_s"], &gcp["idle_range_s"], &gcp["max_life_s"]), (&Json::Null, &Json::Null, &json!(30)));
        assert_eq!(row("fly")["checked"], Json::Null);
    }

    #[test]
    fn the_table_has_a_line_for_each_preset_and_marks_those_that_are_not_verified() {
        let table = table();
        for preset in PRESETS {
            let line = table.lines().find(|line| line.split(' ').next() == Some(preset.name)).unwrap();
            assert_eq!(line.starts_with(&format!("{} ? ", preset.name)), preset.checked.is_none(), "{line}");
            assert!(line.ends_with(preset.title), "{line}");
        }
        assert!(table.contains("\n? no page of its vendor says so"), "{table}");
    }

    #[test]
    fn an_entry_says_the_figures_their_meaning_and_who_says_so() {
        let alb = entry(preset("aws_alb").unwrap());
        for line in [
            "aws_alb: AWS Application Load Balancer",
            "  silence   60s",
            "  range     1s to 4000s",
            "  interval  24s",
            "  ends by   fin: TCP ends without a Close frame (FIN)",
            "  life      none",
            "  checked   2026-11-28",
        ] {
            assert!(alb.lines().any(|other| other == line), "no {line:?} in\n{alb}");
        }
        let gcp = entry(preset("gcp_alb").unwrap());
        assert!(gcp.contains("  silence   no limit\n") && gcp.contains("  life      30s unless set\n"), "{gcp}");
        assert!(!gcp.contains("counts") && !gcp.contains("interval"), "{gcp}");
        assert!(entry(preset("kubernetes").unwrap()).contains("  grace     30s from SIGTERM to SIGKILL\n"));
        assert!(entry(preset("mobile_nat").unwrap()).contains("  checked   no page of its vendor says so"));
    }

    #[test]
    fn each_preset_with_a_figure_stands_once_in_the_table_of_that_figure() {
        let text = by_figure();
        let (silences, lives) = text.split_once("\n| age |").unwrap();
        for preset in PRESETS {
            let title = preset.told();
            assert_eq!(silences.matches(&title).count(), usize::from(preset.idle.is_some()), "{title}");
            assert_eq!(lives.matches(&title).count(), usize::from(preset.max_life.is_some()), "{title}");
        }
        assert!(silences.contains("\n| 55s | Heroku router |\n"), "{silences}");
        assert!(
            lives.contains("\n| 30s | Google Cloud external Application Load Balancer (unless set) |\n"),
            "{lives}"
        );
    }

    #[test]
    fn a_duration_is_written_as_the_file_takes_it() {
        for (seconds, text) in [
            (1, "1s"),
            (60, "60s"),
            (90, "90s"),
            (120, "2m"),
            (350, "350s"),
            (3_600, "1h"),
            (86_400, "1d"),
            (7_440, "124m"),
        ] {
            assert_eq!(words(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_source_becomes_a_link_to_its_address() {
        assert_eq!(link("https://a.example/b (c d)"), "[a.example](https://a.example/b) (c d)");
        assert_eq!(link("https://a.example/b"), "[a.example](https://a.example/b)");
        assert_eq!(link("Known from use"), "Known from use");
    }
}
