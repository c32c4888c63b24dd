//! Text that is HTML already, and the one way to make it: each value is escaped as it is written.
//!
//! Templates print it without the filter `safe`, which no template uses. Only the files of this
//! folder that draw (charts, times, icons) make it.

use std::fmt::{self, Write as _};

/// HTML.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Markup(String);

/// A value whose characters with a meaning in HTML are replaced as it is written.
pub(crate) struct Escaped<T>(pub T);

/// Replaces characters on the way to another writer.
struct EscapingWriter<'a, 'b>(&'a mut fmt::Formatter<'b>);

// === impl Markup ===

impl Markup {
    /// Appends a piece of HTML that the program wrote. Values go through [`Self::value`].
    pub(crate) fn raw(&mut self, html: &'static str) -> &mut Self {
        self.0.push_str(html);
        self
    }

    /// Appends a value, escaped.
    pub(crate) fn value(&mut self, value: impl fmt::Display) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{}", Escaped(value));
        self
    }

    /// Appends an attribute with its value, escaped.
    pub(crate) fn attribute(&mut self, name: &'static str, value: impl fmt::Display) -> &mut Self {
        let _ = write!(self.0, " {name}=\"{}\"", Escaped(value));
        self
    }

    /// The HTML of a template, which escapes its values.
    pub(crate) fn of(template: &impl askama::Template) -> askama::Result<Self> {
        template.render().map(Self)
    }

    /// The text of the HTML.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Markup {}

// === impl Escaped ===

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(EscapingWriter(f), "{}", self.0)
    }
}

impl fmt::Write for EscapingWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(['<', '>', '&', '"', '\'']) {
            self.0.write_str(&rest[..at])?;
            self.0.write_str(match rest.as_bytes()[at] {
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'&' => "&amp;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_place() {
        let mut html = Markup::default();
        html.raw("<a").attribute("title", "\"><img src=x onerror='a'>").raw(">").value("<&é>");
        let expected =
            "<a title=\"&quot;&gt;&lt;img src=x onerror=&#39;a&#39;&gt;\">&lt;&amp;é&gt;";
        assert_eq!(html.as_str(), expected);
    }
}
