//! A source file as the rules see it: its text, and its code with comments and literals blanked. No
//! rule lives here.

use std::fs;
use std::path::Path;

/// A source file.
pub struct Source {
    /// From the root of the repository.
    pub path: String,
    pub text: String,
    /// The text with comments and literals blanked; every byte is where it was.
    pub code: String,
}

// === impl Source ===

impl Source {
    /// All of ours.
    pub fn all() -> Vec<Self> {
        let mut sources = Vec::new();
        for dir in ["src", "plugin", "tests"] {
            read_sources(Path::new(env!("CARGO_MANIFEST_DIR")), dir, &mut sources);
        }
        sources
    }

    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into(), code: code_of(text) }
    }

    /// The top module it belongs to; none for `lib.rs`, `main.rs` and what is not in `src`.
    pub fn module(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
        (first != "lib" && first != "main").then_some(first)
    }

    pub fn line_of(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }
}

fn read_sources(root: &Path, dir: &str, sources: &mut Vec<Source>) {
    let mut names: Vec<String> = fs::read_dir(root.join(dir)).unwrap().map(name_of).collect();
    names.sort();
    for name in names {
        let path = format!("{dir}/{name}");
        if root.join(&path).is_dir() && name != "target" {
            read_sources(root, &path, sources);
        } else if Path::new(&path).extension().is_some_and(|extension| extension == "rs") {
            sources.push(Source::new(&path, &fs::read_to_string(root.join(&path)).unwrap()));
        }
    }
}

fn name_of(entry: std::io::Result<fs::DirEntry>) -> String {
    entry.unwrap().file_name().into_string().expect("file names are UTF-8")
}

/// Where this word stands as a whole word.
pub fn words(code: &str, word: &str) -> Vec<usize> {
    let is_ident = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |at: &usize| {
        !code[..*at].ends_with(is_ident) && !code[at + word.len()..].starts_with(is_ident)
    };
    code.match_indices(word).map(|(at, _)| at).filter(whole).collect()
}

pub fn ident_at(code: &str, at: usize) -> &str {
    let rest = &code[at..];
    &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
}

/// Where the body of the function whose `fn` stands here ends; none for a declaration and for a
/// function type.
pub fn body_end(code: &str, start: usize) -> Option<usize> {
    if ident_at(code, start + "fn ".len()).is_empty() {
        return None;
    }
    let mut depth = 0;
    for (offset, byte) in code[start..].bytes().enumerate() {
        depth += i32::from(matches!(byte, b'(' | b'[')) - i32::from(matches!(byte, b')' | b']'));
        match byte {
            b'{' if depth == 0 => return closing(code, start + offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Where the brace that opens here is closed.
pub fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0;
    for (offset, byte) in code[open..].bytes().enumerate() {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        if depth == 0 {
            return Some(open + offset);
        }
    }
    None
}

/// The text with comments, strings and characters blanked.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = end_of_blank(text, at);
        for byte in &mut code[at..end] {
            *byte = if *byte == b'\n' { b'\n' } else { b' ' };
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("literals are blanked whole")
}

/// Where the comment or literal that starts here ends; here itself when none does.
fn end_of_blank(text: &str, at: usize) -> usize {
    let rest = &text.as_bytes()[at..];
    let until = |from: usize, end: &[u8]| {
        let found = rest[from..].windows(end.len()).position(|window| window == end);
        at + found.map_or(rest.len(), |offset| from + offset + end.len())
    };
    match rest {
        [b'/', b'/', ..] => until(0, b"\n"),
        [b'/', b'*', ..] => until(2, b"*/"),
        [b'"', ..] => {
            let mut end = 1;
            while end < rest.len() && rest[end] != b'"' {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            (at + end + 1).min(text.len())
        }
        [b'r', b'"' | b'#', ..] => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            let is_string = rest.get(1 + hashes) == Some(&b'"');
            if is_string {
                until(2 + hashes, &[b"\"", "#".repeat(hashes).as_bytes()].concat())
            } else {
                at
            }
        }
        [b'\'', b'\\', _, ..] => until(3, b"'"),
        [b'\'', ..] => {
            // A character and a closing quote; else it is a lifetime.
            let length = text[at + 1..].chars().next().map_or(0, char::len_utf8);
            if rest.get(1 + length) == Some(&b'\'') { at + length + 2 } else { at }
        }
        _ => at,
    }
}
