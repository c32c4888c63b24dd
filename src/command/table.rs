//! What commands print: a table for people, JSON for programs. It chooses no content.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// Table width when standard output is no terminal.
const WIDTH: u16 = 100;

/// The output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// A table for people.
    #[default]
    Table,
    /// One JSON document for programs.
    Json,
}

/// Prints rows: a table with these headings, or the values as a JSON array.
pub fn rows<T: Serialize>(
    output: OutputFormat,
    headings: &[&str],
    values: &[T],
    cells: impl Fn(&T) -> Vec<String>,
) -> io::Result<()> {
    match output {
        OutputFormat::Json => json(&values),
        OutputFormat::Table => {
            let terminal = terminal_size::terminal_size_of(io::stdout());
            let width = terminal.map_or(WIDTH, |(width, _)| width.0);
            writeln!(io::stdout(), "{}", table(width, headings, values.iter().map(cells)))
        }
    }
}

/// A table that wraps its cells to fit `width` columns.
fn table(width: u16, headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(headings.to_vec());
    for row in rows {
        table.add_row(row);
    }
    table
}

/// Prints one thing: a line per field, or a JSON object.
pub fn fields<T: Serialize>(
    output: OutputFormat,
    value: &T,
    lines: &[(&str, String)],
) -> io::Result<()> {
    match output {
        OutputFormat::Json => json(value),
        OutputFormat::Table => {
            let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            let mut out = io::stdout().lock();
            lines.iter().try_for_each(|(name, text)| writeln!(out, "{name:width$}  {text}"))
        }
    }
}

/// Prints a note on standard error. A write error is ignored.
macro_rules! note {
    ($($what:tt)*) => {
        $crate::telemetry::logs::write_line(&format!($($what)*))
    };
}

pub(crate) use note;

/// Prints a value as one JSON document.
pub fn json<T: Serialize>(value: &T) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(io::stdout(), "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_without_a_terminal_fits_100_columns() {
        let headings = ["ID", "QUARANTINED", "REASON", "TOPIC", "DETAIL", "BYTES", "REPLAYED"];
        let row = [
            "0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11",
            "2026-11-28T14:45:00Z",
            "UNREGISTERED_DEVICE",
            "tenant/acme-pumps/device/pump-with-a-long-name-0001/telemetry",
            "device acme-pumps/pump-with-a-long-name-0001 is not registered",
            "16384",
            "2026-11-28T14:45:00Z",
        ];
        let row: Vec<String> = row.map(str::to_owned).into();
        let text = table(WIDTH, &headings, [row].into_iter()).to_string();
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{text}");
    }
}
