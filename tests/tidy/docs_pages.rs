//! The pages people read: each relative link and anchor resolves, and each page is in the summary.
//!
//! It follows no link to another site, and reads no code block or code span.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const MAX_README_LINES: usize = 150;

/// A page's path from the root of the repository, and its text.
type Pages = BTreeMap<String, String>;

#[test]
fn every_link_resolves() {
    let pages = pages();
    assert!(pages.len() > 30, "{}", pages.len());
    let findings = dead_links(&pages, |path| root().join(path).exists());
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn a_dead_link_and_a_dead_anchor_are_found() {
    let a = "# A\n\n[b](docs/b.md#part-one) [x](docs/gone.md) [y](docs/b.md#gone) [z](#nowhere) [w](https://x.org/q)\n\
             [two\nlines](lost.md) `[code](not.md)`\n\n```\n[block](not.md)\n```\n";
    let b = "# B\n\n## Part one\n\n[back](../a.md) [up](../../escape.md)\n";
    let pages =
        Pages::from([("a.md".to_owned(), a.to_owned()), ("docs/b.md".to_owned(), b.to_owned())]);
    let findings = dead_links(&pages, |path| pages.contains_key(path));
    let expected = [
        "a.md: `docs/gone.md`",
        "a.md: `docs/b.md#gone`",
        "a.md: `#nowhere`",
        "a.md: `lost.md`",
        "docs/b.md: `../../escape.md`",
    ];
    assert_eq!(findings, expected);
}

#[test]
fn every_path_of_the_repository_that_a_page_names_exists() {
    let pages = pages();
    // What is released stays as it was written.
    let found =
        pages.iter().filter(|(path, _)| *path != "CHANGELOG.md").flat_map(|(path, text)| {
            let gone = paths(text).into_iter().filter(|named| !root().join(named).exists());
            gone.map(move |named| format!("{path}: `{named}`"))
        });
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_message_that_troubleshoot_quotes_is_one_of_the_program() {
    let page = &pages()["docs/how-to/troubleshoot.md"];
    let quotes = quotes(page);
    assert!(quotes.len() >= 8, "{quotes:?}");
    let sources = sources();
    let gone: Vec<&String> = quotes.iter().filter(|quote| !sources.contains(*quote)).collect();
    assert!(gone.is_empty(), "no string in src has these words: {gone:#?}");
}

#[test]
fn a_quote_is_a_sentence_at_the_head_of_a_row_up_to_its_first_number() {
    let page = "| `the broker refused it with code 0x87` (or 0x86) | `not this long sentence` |\n\
                | `database` | x |\n| ready, but `sluice_x` stays 0 | y |\n";
    assert_eq!(quotes(page), ["the broker refused it with code"]);
}

#[test]
fn paths_are_found_in_code_spans_and_patterns_are_none() {
    let text = "`src/a.rs`, `src/<wing>.rs`, `migrations/NNNN_x.sql`, `scripts/demo --seconds 10`, `docs/x`'s \
                `src/b.rs::c` src/prose.rs `etc/x`\n```\n`src/block.rs`\n```\n";
    assert_eq!(paths(text), ["src/a.rs", "scripts/demo", "docs/x", "src/b.rs"]);
}

#[test]
fn every_page_of_docs_is_in_the_summary() {
    let pages = pages();
    let summary = &pages["docs/SUMMARY.md"];
    let missing: Vec<&String> = pages
        .keys()
        .filter(|path| *path != "docs/SUMMARY.md")
        .filter(|path| {
            path.strip_prefix("docs/").is_some_and(|path| !summary.contains(&format!("({path})")))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_readme_is_short() {
    assert!(pages()["README.md"].lines().count() <= MAX_README_LINES);
}

// === links ===

fn dead_links(pages: &Pages, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in pages {
        for target in links(&prose(text)) {
            if !resolves(pages, path, &target, &exists) {
                findings.push(format!("{path}: `{target}`"));
            }
        }
    }
    findings
}

fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

fn resolves(pages: &Pages, from: &str, target: &str, exists: impl Fn(&str) -> bool) -> bool {
    if target.starts_with("https://") || target.starts_with("http://") {
        return true;
    }
    let (path, anchor) =
        target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path = if path.is_empty() { Some(from.to_owned()) } else { joined(from, path) };
    let Some(path) = path.filter(|path| exists(path)) else { return false };
    anchor.is_none_or(|anchor| {
        pages.get(&path).is_some_and(|page| anchors(page).iter().any(|known| known == anchor))
    })
}

/// A path relative to a page, from the root; `None`: it leaves the repository.
fn joined(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(page: &str) -> Vec<String> {
    let mut fenced = false;
    let mut anchors = Vec::new();
    for line in page.lines() {
        fenced ^= line.starts_with("```");
        if !fenced && line.starts_with('#') {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept =
                title.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '));
            anchors.push(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    anchors
}

// === paths ===

/// The paths of the repository in the code spans of a page.
fn paths(text: &str) -> Vec<String> {
    const DIRS: [&str; 6] = ["compose/", "docs/", "migrations/", "scripts/", "src/", "tests/"];
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        for span in line.split('`').skip(1).step_by(2) {
            let path = span.split([' ', '#']).next().unwrap_or_default();
            let path = path.trim_start_matches("./");
            let path = path.split("::").next().unwrap_or_default();
            let is_pattern = path.contains(['<', '*', '{']) || path.contains("NNN");
            if DIRS.iter().any(|dir| path.starts_with(dir)) && !is_pattern {
                found.push(path.to_owned());
            }
        }
    }
    found
}

// === quotes ===

/// The messages in the first column of the tables: code spans of four words or more.
fn quotes(page: &str) -> Vec<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let spans = rows.filter_map(|(head, _)| head.strip_prefix('`')?.split_once('`'));
    let fixed = spans.map(|(span, _)| span.split(|c: char| c.is_ascii_digit()).next().unwrap());
    let long = fixed.filter(|text| text.split(' ').count() >= 4);
    long.map(|text| text.trim().to_owned()).collect()
}

/// All sources as one line, with string literals of several lines joined.
fn sources() -> String {
    let mut text = String::new();
    let mut dirs = vec![root().join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_none_or(|kind| kind != "gz") {
                text += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let lines = text.split("\\\n").map(str::trim_start);
    lines.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text without fenced blocks and code spans.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        if !fenced && !is_fence {
            let outside = line.split('`').step_by(2);
            prose.push_str(&outside.collect::<Vec<_>>().join("`"));
        }
        prose.push('\n');
        fenced ^= is_fence;
    }
    prose
}

// === the pages ===

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Pages {
    let mut pages = Pages::new();
    let single = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "compose/README.md",
        "migrations/README.md",
    ];
    for path in single {
        pages.insert(path.to_owned(), fs::read_to_string(root().join(path)).unwrap());
    }
    read_pages("docs", &mut pages);
    pages
}

fn read_pages(dir: &str, pages: &mut Pages) {
    for entry in fs::read_dir(root().join(dir)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = format!("{dir}/{name}");
        if root().join(&path).is_dir() {
            read_pages(&path, pages);
        } else if Path::new(&path).extension().is_some_and(|extension| extension == "md") {
            pages.insert(path.clone(), fs::read_to_string(root().join(&path)).unwrap());
        }
    }
}
