//! Charts as SVG: a line of numbers over time, bars that are links, and shares of a whole.
//!
//! Each has its numbers as a table or a list beside it, for readers who do not see it. Colours are
//! classes of the style sheet; the content policy permits no style in the SVG.

use std::fmt::Write as _;

use super::filters::thousands;
use super::markup::Markup;

/// The width and the height of the drawing of a line and of bars, in its own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 60.0;

/// Most rows of the table beside a line.
const TABLE_ROWS: usize = 12;

/// The height of the smallest bar that is not zero: it must be seen.
const SMALLEST_BAR: f64 = 2.0;

/// Values over time, the oldest first; `None` where nothing is known.
#[derive(Clone, Debug)]
pub(crate) struct Spark<'a> {
    /// What the values are, for readers who do not see the line.
    pub label: &'a str,
    /// What follows a value: " ms", "/s".
    pub unit: &'a str,
    pub values: &'a [Option<f64>],
    /// The label of each value in the table; empty: no table.
    pub times: &'a [String],
    /// A class: empty, `bad`, `quiet`.
    pub class: &'static str,
}

/// One bar.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bar {
    /// What it stands for: "14:30 to 14:35".
    pub label: String,
    /// Its parts from the bottom up, with the class of each: empty, `ok`, `warn`, `bad`, `off`.
    pub parts: Vec<(&'static str, u64)>,
    /// Where it leads.
    pub href: Option<String>,
    /// Whether the page shows only this bar's rows.
    pub is_on: bool,
}

/// Bars side by side.
#[expect(clippy::struct_field_names, reason = "the bars of the bars")]
#[derive(Clone, Debug)]
pub(crate) struct Bars<'a> {
    /// What the bars show.
    pub label: &'a str,
    /// The head of the first column of the table: "week", "minute".
    pub unit: &'a str,
    pub bars: &'a [Bar],
}

/// A share of a whole.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub label: String,
    pub value: u64,
    /// `ok`, `warn`, `bad`, `off` or `info`.
    pub class: &'static str,
    pub href: Option<String>,
}

// === impl Spark ===

impl Spark<'_> {
    /// The line, with its lowest, highest and last value as its name, and a table of some values.
    pub(crate) fn draw(&self) -> Markup {
        self.draw_between(0.0, self.known().fold(0.0_f64, f64::max))
    }

    /// The same with its lowest value at the bottom: for measurements, whose zero means nothing.
    pub(crate) fn draw_measured(&self) -> Markup {
        let low = self.known().fold(f64::INFINITY, f64::min);
        let high = self.known().fold(f64::NEG_INFINITY, f64::max);
        let margin = (high - low) * 0.1;
        if margin > 0.0 {
            self.draw_between(low - margin, high)
        } else {
            self.draw_between(low - 1.0, low + 1.0)
        }
    }

    fn draw_between(&self, low: f64, top: f64) -> Markup {
        let mut html = Markup::default();
        html.raw("<figure>");
        html.raw("<svg").attribute("class", format_args!("spark {}", self.class));
        html.attribute("viewBox", format_args!("0 0 {WIDTH} {HEIGHT}"));
        html.raw(" preserveAspectRatio=\"none\" role=\"img\"");
        html.attribute("aria-label", self.summary()).raw(">");
        html.raw("<path class=\"base\"");
        html.attribute("d", format_args!("M0 {HEIGHT}H{WIDTH}")).raw("/>");
        let (line, area) = self.paths(low, if top > low { top - low } else { 1.0 });
        html.raw("<path class=\"area\"").attribute("d", area).raw("/>");
        html.raw("<path class=\"line\"").attribute("d", line).raw("/></svg>");
        self.table(&mut html);
        html.raw("</figure>");
        html
    }

    fn known(&self) -> impl Iterator<Item = f64> {
        self.values.iter().flatten().copied().filter(|value| value.is_finite())
    }

    fn summary(&self) -> String {
        let Some(last) = self.known().last() else { return format!("{}: no values", self.label) };
        let low = self.known().fold(f64::INFINITY, f64::min);
        let high = self.known().fold(f64::NEG_INFINITY, f64::max);
        let of = |value| format!("{}{}", short(value), self.unit);
        format!("{}: lowest {}, highest {}, last {}", self.label, of(low), of(high), of(last))
    }

    fn paths(&self, low: f64, height: f64) -> (String, String) {
        let (mut line, mut area) = (String::new(), String::new());
        let step = WIDTH / as_f64(self.values.len().saturating_sub(1).max(1));
        let mut run: Option<f64> = None;
        for (at, value) in self.values.iter().enumerate() {
            let x = as_f64(at) * step;
            // Writing to a string does not fail.
            if let Some(value) = value.filter(|value| value.is_finite()) {
                let y = HEIGHT - (value - low).max(0.0) / height * (HEIGHT - 2.0);
                // The paths begin again after a gap; a point alone is a dot.
                let _ = if run.is_none() {
                    let _ = write!(area, "M{x:.1} {HEIGHT}L{x:.1} {y:.1}");
                    write!(line, "M{x:.1} {y:.1}h.01")
                } else {
                    let _ = write!(area, "L{x:.1} {y:.1}");
                    write!(line, "L{x:.1} {y:.1}")
                };
                run = Some(x);
            } else if let Some(end) = run.take() {
                let _ = write!(area, "L{end:.1} {HEIGHT}Z");
            }
        }
        if let Some(end) = run {
            let _ = write!(area, "L{end:.1} {HEIGHT}Z");
        }
        (line, area)
    }

    fn table(&self, html: &mut Markup) {
        if self.times.is_empty() || self.values.is_empty() {
            return;
        }
        html.raw("<details><summary>Values</summary><table><tbody>");
        let every = self.values.len().div_ceil(TABLE_ROWS);
        let rows = self.times.iter().zip(self.values).rev().step_by(every);
        for (time, value) in rows {
            html.raw("<tr><th scope=\"row\">").value(time).raw("</th><td class=\"num\">");
            match value {
                Some(value) => html.value(short(*value)).value(self.unit),
                None => html.raw("–"),
            };
            html.raw("</td></tr>");
        }
        html.raw("</tbody></table></details>");
    }
}

// === impl Bars ===

impl Bars<'_> {
    /// The bars, each a link over its whole height, and a table of them.
    pub(crate) fn draw(&self) -> Markup {
        let mut html = Markup::default();
        html.raw("<figure><svg class=\"bars\"");
        html.attribute("viewBox", format_args!("0 0 {WIDTH} {HEIGHT}"));
        html.raw(" preserveAspectRatio=\"none\" role=\"group\"")
            .attribute("aria-label", self.label);
        html.raw(">");
        let top = self.bars.iter().map(Bar::total).max().unwrap_or(0).max(1);
        let slot = WIDTH / as_f64(self.bars.len().max(1));
        for (at, bar) in self.bars.iter().enumerate() {
            bar.draw(&mut html, as_f64(at) * slot, slot, top);
        }
        html.raw("<path class=\"base\"").attribute("d", format_args!("M0 {HEIGHT}H{WIDTH}"));
        html.raw("/></svg>");
        if let [first, .., last] = self.bars {
            html.raw("<div class=\"axis\" aria-hidden=\"true\"><span>").value(&first.label);
            html.raw("</span><span>").value(&last.label).raw("</span></div>");
        }
        self.table(&mut html);
        html.raw("</figure>");
        html
    }

    fn table(&self, html: &mut Markup) {
        html.raw("<details><summary>As a table</summary><table><thead><tr><th scope=\"col\">");
        html.value(self.unit).raw("</th><th scope=\"col\" class=\"num\">number</th></tr></thead>");
        html.raw("<tbody>");
        for bar in self.bars.iter().filter(|bar| bar.total() > 0) {
            html.raw("<tr><th scope=\"row\">");
            if let Some(href) = &bar.href {
                html.raw("<a").attribute("href", href).raw(">").value(&bar.label).raw("</a>");
            } else {
                html.value(&bar.label);
            }
            html.raw("</th><td class=\"num\">").value(thousands(bar.total().into()));
            html.raw("</td></tr>");
        }
        html.raw("</tbody></table></details>");
    }
}

// === impl Bar ===

impl Bar {
    /// A bar of one part.
    pub(crate) fn new(label: impl Into<String>, value: u64, href: Option<String>) -> Self {
        Self { label: label.into(), parts: vec![("", value)], href, is_on: false }
    }

    fn total(&self) -> u64 {
        self.parts.iter().map(|(_, value)| value).sum()
    }

    fn draw(&self, html: &mut Markup, x: f64, slot: f64, top: u64) {
        let text = format!("{}: {}", self.label, thousands(self.total().into()));
        match &self.href {
            Some(href) => {
                html.raw("<a").attribute("href", href).attribute("aria-label", &text).raw(">")
            }
            None => html.raw("<g>"),
        };
        html.raw("<title>").value(&text).raw("</title>");
        let class = if self.is_on { "slot on" } else { "slot" };
        rectangle(html, class, (x, 0.0, slot, HEIGHT));
        let (width, mut bottom) = (slot * 0.8, HEIGHT);
        for (class, value) in &self.parts {
            if *value == 0 {
                continue;
            }
            let height = (as_f64(*value) / as_f64(top) * HEIGHT).max(SMALLEST_BAR);
            bottom = (bottom - height).max(0.0);
            let class = format!("bar {class}");
            rectangle(html, class.trim_end(), (x + slot * 0.1, bottom, width, height));
        }
        html.raw(if self.href.is_some() { "</a>" } else { "</g>" });
    }
}

/// Shares of a whole as one bar, and its legend with the numbers.
pub(crate) fn stack_bar(label: &str, shares: &[Share]) -> Markup {
    let total: u64 = shares.iter().map(|share| share.value).sum();
    let mut html = Markup::default();
    html.raw("<figure><svg class=\"stackbar\"");
    html.attribute("viewBox", format_args!("0 0 {WIDTH} 12"));
    html.raw(" preserveAspectRatio=\"none\" role=\"img\"").attribute("aria-label", label).raw(">");
    rectangle(&mut html, "off", (0.0, 0.0, if total == 0 { WIDTH } else { 0.0 }, 12.0));
    let mut x = 0.0;
    for share in shares.iter().filter(|share| share.value > 0) {
        let width = as_f64(share.value) / as_f64(total) * WIDTH;
        rectangle(&mut html, share.class, (x, 0.0, width, 12.0));
        x += width;
    }
    html.raw("</svg><ul class=\"key\">");
    for share in shares {
        html.raw("<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\">");
        rectangle(&mut html, share.class, (0.0, 0.0, 10.0, 10.0));
        html.raw("</svg>");
        let text = format!("{} {}", thousands(share.value.into()), share.label);
        match &share.href {
            Some(href) => html.raw("<a").attribute("href", href).raw(">").value(text).raw("</a>"),
            None => html.value(text),
        };
        html.raw("</li>");
    }
    html.raw("</ul></figure>");
    html
}

/// How much of `most` a value is, as a thin bar without a name: its number stands beside it.
pub(crate) fn meter(value: f64, most: f64) -> Markup {
    let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
    let mut html = Markup::default();
    html.raw("<svg class=\"meter\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    rectangle(&mut html, "track", (0.0, 0.0, 100.0, 6.0));
    rectangle(&mut html, "share", (0.0, 0.0, share * 100.0, 6.0));
    html.raw("</svg>");
    html
}

/// A number in as few characters as it needs: 2,014 and 21.5 and 0.04.
pub(crate) fn short(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "a chart's numbers are far below 2^63")]
    let whole = value.round() as i64;
    match value.abs() {
        far if far >= 100.0 || (value - value.round()).abs() < f64::EPSILON => {
            thousands(whole.into())
        }
        far if far >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

// === private helpers ===

fn rectangle(html: &mut Markup, class: &str, (x, y, width, height): (f64, f64, f64, f64)) {
    html.raw("<rect").attribute("class", class);
    html.attribute("x", format_args!("{x:.1}")).attribute("y", format_args!("{y:.1}"));
    html.attribute("width", format_args!("{width:.1}"));
    html.attribute("height", format_args!("{height:.1}")).raw("/>");
}

/// A number of points or messages as a coordinate.
#[expect(clippy::cast_precision_loss, reason = "a coordinate needs no more than 52 bits")]
fn as_f64(number: impl TryInto<u64>) -> f64 {
    number.try_into().map_or(0.0, |number: u64| number as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_no_style(html: &Markup) {
        assert!(!html.as_str().contains("style"), "{html}");
    }

    #[test]
    fn a_line_breaks_where_nothing_is_known_and_says_its_ends() {
        let values = [Some(0.0), Some(10.0), None, Some(4.0)];
        let times = ["14:00", "14:01", "14:02", "14:03"].map(str::to_owned);
        let spark =
            Spark { label: "Stored", unit: "/s", values: &values, times: &times, class: "" };
        let html = spark.draw();
        assert!(html.as_str().contains("Stored: lowest 0/s, highest 10/s, last 4/s"), "{html}");
        assert!(html.as_str().contains("d=\"M0.0 60.0h.01L200.0 2.0M600.0 36.8h.01\""), "{html}");
        assert_eq!(html.as_str().matches("<tr>").count(), 4);
        has_no_style(&html);
        let none = Spark { values: &[None, Some(f64::NAN)], ..spark };
        assert!(none.draw().as_str().contains("no values"));
    }

    #[test]
    fn a_bar_is_a_link_and_the_smallest_is_seen() {
        let href = Some("/console/quarantine?reason=\"><i>".to_owned());
        let bars = [Bar::new("14:00", 100_000, None), Bar::new("14:01 <b>", 1, href)];
        let html = Bars { label: "Refused", unit: "minute", bars: &bars }.draw();
        assert!(html.as_str().contains("height=\"2.0\""), "{html}");
        assert!(
            html.as_str()
                .contains("reason=&quot;&gt;&lt;i&gt;\" aria-label=\"14:01 &lt;b&gt;: 1\"")
        );
        has_no_style(&html);
    }

    #[test]
    fn shares_fill_the_bar_and_nothing_is_a_bar_too() {
        let share = |value, class: &'static str| Share {
            label: class.to_owned(),
            value,
            class,
            href: None,
        };
        let html = stack_bar("Devices", &[share(3, "ok"), share(1, "bad")]);
        assert!(
            html.as_str().contains("class=\"ok\" x=\"0.0\" y=\"0.0\" width=\"450.0\""),
            "{html}"
        );
        assert!(stack_bar("Devices", &[share(0, "ok")]).as_str().contains("width=\"600.0\""));
        has_no_style(&html);
    }

    #[test]
    fn a_number_is_short() {
        assert_eq!([2_014.4, 21.5, 0.041, 7.0].map(short), ["2,014", "21.5", "0.04", "7"]);
    }
}
