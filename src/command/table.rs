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
            let mut table = Table::new();
            let terminal = terminal_size::terminal_size_of(io::stdout());
            table.set_width(terminal.map_or(WIDTH, |(width, _)| width.0));
            table
                .load_style(presets::UTF8_HORIZONTAL_ONLY)
                .set_content_arrangement(ContentArrangement::Dynamic);
            table.set_header(headings.to_vec());
            for value in values {
                table.add_row(cells(value));
            }
            writeln!(io::stdout(), "{table}")
        }
    }
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
        $crate::telemetry::logs::say(&format!($($what)*))
    };
}

pub(crate) use note;

/// Prints a value as one JSON document.
pub fn json<T: Serialize>(value: &T) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(io::stdout(), "{text}")
}
