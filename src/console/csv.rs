//! Rows as a file of comma-separated values (RFC 4180).
//!
//! A spreadsheet must not compute what a device has sent: a cell that it would take for a formula
//! starts with an apostrophe.

use axum::body::Body;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

/// A file in the making.
#[derive(Clone, Debug)]
pub(crate) struct CsvText(String);

// === impl CsvText ===

impl CsvText {
    /// A file with this head.
    pub(crate) fn new(head: &[&str]) -> Self {
        let mut text = Self(String::new());
        text.row(head.iter().copied());
        text
    }

    /// Rows without a head, to follow others in a stream.
    pub(crate) const fn more() -> Self {
        Self(String::new())
    }

    /// Appends a row.
    pub(crate) fn row<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) {
        for (at, cell) in cells.into_iter().enumerate() {
            if at > 0 {
                self.0.push(',');
            }
            self.cell(cell);
        }
        self.0.push_str("\r\n");
    }

    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// The whole file as an answer.
    pub(crate) fn into_answer(self, file_name: &str) -> Response {
        csv_answer(file_name, Body::from(self.0))
    }

    fn cell(&mut self, cell: &str) {
        let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let is_number = cell.parse::<f64>().is_ok();
        let guard = if is_formula && !is_number { "'" } else { "" };
        if cell.contains([',', '"', '\r', '\n']) {
            self.0.push('"');
            self.0.push_str(guard);
            self.0.push_str(&cell.replace('"', "\"\""));
            self.0.push('"');
        } else {
            self.0.push_str(guard);
            self.0.push_str(cell);
        }
    }
}

/// An answer that a browser saves as `file_name`; the body may be a stream.
pub(crate) fn csv_answer(file_name: &str, body: Body) -> Response {
    let plain: String = file_name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .collect();
    let disposition = format!("attachment; filename=\"{plain}\"");
    let headers =
        [(CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, disposition)];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_one_cell_and_no_formula() {
        let mut text = CsvText::new(&["device", "value"]);
        text.row(["a,b", "say \"x\"\n"]);
        text.row(["=1+1", "-2.5"]);
        text.row(["@x,y", ""]);
        let expected =
            "device,value\r\n\"a,b\",\"say \"\"x\"\"\n\"\r\n'=1+1,-2.5\r\n\"'@x,y\",\r\n";
        assert_eq!(text.into_text(), expected);
    }
}
