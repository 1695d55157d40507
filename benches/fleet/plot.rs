//! Curves over time, as SVG that needs only a browser. In the look of benches/reconnect/arrivals.svg: on white, so that it can be read on
//! a dark page too.

use std::fmt::Write as _;

/// One line of a panel: a value for each second.
pub struct Curve {
    pub name: String,
    pub values: Vec<f64>,
}

pub struct Panel {
    /// What is drawn, with its unit.
    pub title: &'static str,
    pub curves: Vec<Curve>,
    /// Where the axis begins.
    pub floor: f64,
    /// The seconds that are shown. The first is the 0 of the axis.
    pub since: usize,
    pub until: usize,
}

const COLOURS: [&str; 6] = ["#c2410c", "#1d4ed8", "#15803d", "#a21caf", "#0e7490", "#57534e"];
const STYLE: &str = "text { font: 12px system-ui, sans-serif; fill: #222 } .small { font-size: 10px; fill: #555 }";
const WIDTH: f64 = 940.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 920.0;
/// Of the curves.
const HEIGHT: f64 = 180.0;
/// Of a line of the legend.
const LINE: f64 = 18.0;
/// A curve has so many points at most. What is between two of them is told by the highest.
const POINTS: usize = 240;

pub fn svg(title: &str, panels: &[Panel]) -> String {
    let (mut body, mut y) = (text(20.0, 26.0, title, "16", "start"), 44.0);
    for panel in panels {
        y = draw(panel, &mut body, y);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\">\n<style>{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{y}\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

/// Draws a panel below this height, and returns where it ends.
fn draw(panel: &Panel, body: &mut String, top: f64) -> f64 {
    body.push_str(&text(LEFT, top + 14.0, panel.title, "13", "start"));
    let mut y = top + 20.0;
    for (curve, colour) in panel.curves.iter().zip(COLOURS) {
        _ = writeln!(body, "<rect x=\"{LEFT}\" y=\"{:.0}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>", y + 8.0);
        body.push_str(&text(LEFT + 18.0, y + 14.0, &curve.name, "12", "start"));
        y += LINE;
    }
    let (roof, base) = (y + 10.0, y + 10.0 + HEIGHT);
    let shown =
        |curve: &Curve| curve.values[panel.since.min(curve.values.len())..panel.until.min(curve.values.len())].to_vec();
    let highest = panel.curves.iter().flat_map(shown).fold(panel.floor, f64::max);
    let (step, most) = scale(highest - panel.floor);
    let height = |value: f64| base - (base - roof) * (value - panel.floor) / most;
    for i in 0..=(most / step).round() as usize {
        let value = panel.floor + step * i as f64;
        let at = height(value);
        _ = writeln!(body, "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>");
        body.push_str(&text(LEFT - 6.0, at + 3.0, &number(value), "small", "end"));
    }
    let seconds = panel.until - panel.since;
    let place = |second: f64| LEFT + (RIGHT - LEFT) * second / seconds as f64;
    let (tick, unit, name) = times(seconds);
    for i in 0..=seconds / tick {
        let label = format!("{} {name}", i * tick / unit);
        body.push_str(&text(place((i * tick) as f64), base + 14.0, &label, "small", "middle"));
    }
    for (curve, colour) in panel.curves.iter().zip(COLOURS) {
        let values = shown(curve);
        let width = seconds.div_ceil(POINTS).max(1);
        let mut path = String::new();
        let mut last = String::new();
        for (i, values) in values.chunks(width).enumerate() {
            // A value holds for its whole time, and the next one begins where it ends.
            let (from, at) = (place((i * width) as f64), height(values.iter().copied().fold(panel.floor, f64::max)));
            let at = format!("{at:.1}");
            if path.is_empty() {
                _ = write!(path, "M{from:.1},{at}");
            } else if at != last {
                _ = write!(path, "H{from:.1}V{at}");
            }
            last = at;
        }
        _ = write!(path, "H{:.1}", place(values.len() as f64));
        _ = writeln!(body, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>");
    }
    base + 34.0
}

/// The distance of the lines, and the highest of them: 3 to 7 round numbers.
fn scale(highest: f64) -> (f64, f64) {
    let highest = if highest > 0.0 { highest } else { 1.0 };
    let mut power = 1e-3;
    loop {
        for times in [1.0, 2.0, 5.0] {
            let step = times * power;
            let lines = (highest / step).ceil();
            if lines <= 6.0 {
                return (step, step * lines);
            }
        }
        power *= 10.0;
    }
}

/// The distance of the labels in seconds, their unit in seconds, and its name.
fn times(seconds: usize) -> (usize, usize, &'static str) {
    let ticks = [5, 10, 30, 60, 120, 300, 600, 1800, 3600];
    let tick = ticks.into_iter().find(|tick| seconds / tick <= 14).unwrap_or(7200);
    match tick {
        ..60 => (tick, 1, "s"),
        60..3600 => (tick, 60, "min"),
        _ => (tick, 3600, "h"),
    }
}

/// With commas, and decimals only where they matter.
pub fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 10.0 && value.fract().abs() > 1e-9 {
        let shown = format!("{value:.2}");
        return shown.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `style` is a size in pixels, or a class.
fn text(x: f64, y: f64, words: &str, style: &str, anchor: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('`', "");
    let style = if style == "small" { "class=\"small\"".to_owned() } else { format!("style=\"font-size: {style}px\"") };
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{words}</text>\n")
}
