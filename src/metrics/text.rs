//! The two formats of a scrape: OpenMetrics 1.0, and the text format 0.0.4 that everything reads.

use hyper::{HeaderMap, header::ACCEPT};
use prometheus_client::{encoding, registry::Registry};

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The format for a scraper that does not ask for OpenMetrics.
    Classic,
    /// The format for a scraper that asks for OpenMetrics.
    OpenMetrics,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// The format that a request accepts. OpenMetrics must be named, with a weight above 0.
    #[must_use]
    pub fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let is_wanted = values.flat_map(|value| value.split(',')).any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(OPEN_METRICS));
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            is_named && weight.and_then(|weight| weight.parse::<f32>().ok()).is_none_or(|weight| weight > 0.0)
        });
        if is_wanted { Self::OpenMetrics } else { Self::Classic }
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

pub(super) fn write(registry: &Registry, format: Format) -> String {
    let mut text = String::new();
    // Only the writer could fail, and a string takes everything.
    let _ = encoding::text::encode(&mut text, registry);
    match format {
        Format::OpenMetrics => text,
        Format::Classic => classic(&text),
    }
}

/// Turns OpenMetrics into the classic format, which differs only in the lines above the samples.
///
/// In the classic format, a counter has the same name there as its samples, and there is neither a unit nor an end mark.
fn classic(text: &str) -> String {
    let mut classic = String::with_capacity(text.len() + text.len() / 32);
    let mut help = None;
    for line in text.lines() {
        let words = line.strip_prefix("# ").and_then(|line| line.split_once(' '));
        match words {
            // The help comes before the type, but needs the name that the type gives.
            Some(("HELP", words)) => help = words.split_once(' ').map(|(_, words)| words),
            Some(("TYPE", words)) => {
                let (name, kind) = words.split_once(' ').unwrap_or((words, "untyped"));
                let total = if kind == "counter" { "_total" } else { "" };
                if let Some(help) = help.take() {
                    classic.push_str(&format!("# HELP {name}{total} {help}\n"));
                }
                classic.push_str(&format!("# TYPE {name}{total} {kind}\n"));
            }
            _ if line.starts_with('#') => {}
            _ => {
                classic.push_str(line);
                classic.push('\n');
            }
        }
    }
    classic
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn accepted(accept: &str) -> Format {
        Format::accepted(&HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]))
    }

    #[test]
    fn who_names_open_metrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(accepted(prometheus), Format::OpenMetrics);
        assert_eq!(accepted("Application/OpenMetrics-Text"), Format::OpenMetrics);
        for accept in ["*/*", "text/plain", "application/openmetrics-text;q=0", "text/html, */*;q=0.1", ""] {
            assert_eq!(accepted(accept), Format::Classic, "{accept}");
        }
        assert_eq!(Format::accepted(&HeaderMap::new()), Format::Classic);
    }

    #[test]
    fn a_counter_is_called_by_the_name_of_its_samples_in_the_classic_format() {
        let text = "# HELP a Things.\n# TYPE a counter\na_total{x=\"# b\"} 1\n# HELP b_bytes Size.\n# TYPE b_bytes gauge\n\
                    # UNIT b_bytes bytes\nb_bytes 2\n# EOF\n";
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"# b\"} 1\n# HELP b_bytes Size.\n\
                        # TYPE b_bytes gauge\nb_bytes 2\n";
        assert_eq!(classic(text), expected);
    }
}
