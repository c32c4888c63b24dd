//! The rules of the console's templates and files: nothing inline, nothing from elsewhere, nothing
//! unescaped, and the files of others as their authors published them.
//!
//! A browser enforces most of it by the content policy; here it is found before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// A template that one can read.
const MAX_TEMPLATE_LINES: usize = 400;
/// All files that a browser may load, together.
const MAX_ASSET_BYTES: u64 = 160 * 1024;
/// Our own script and style.
const MAX_SCRIPT_LINES: usize = 600;
const MAX_STYLE_LINES: usize = 900;

/// Our own scripts: that of every page, and that of the live tail.
const OWN_SCRIPTS: [&str; 2] = ["console.js", "console.live.js"];

/// What no template holds, and why.
const FORBIDDEN: [(&str, &str); 8] = [
    (" style=", "the policy forbids inline styles: use a class"),
    ("<style", "the policy forbids inline styles: use console.css"),
    ("hx-on", "the policy forbids inline scripts: use console.js"),
    ("js:", "the policy forbids evaluation"),
    ("|safe", "every value is escaped; HTML of the program is a `Markup`"),
    ("| safe", "every value is escaped; HTML of the program is a `Markup`"),
    ("http://", "a page loads nothing from elsewhere"),
    ("https://", "a page loads nothing from elsewhere"),
];

/// Places in our script that only a text for people would fill.
const TEXT_SINKS: [&str; 4] = ["alert(", "confirm(", "prompt(", "innerHTML"];

#[test]
fn every_template_keeps_the_rules() {
    let templates = files("src/console/templates", "html");
    assert!(templates.len() > 4, "the templates moved");
    let findings: Vec<String> = templates
        .iter()
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            of_template(&text)
                .into_iter()
                .map(move |finding| format!("{}: {finding}", path.display()))
        })
        .collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn what_a_template_may_not_hold_is_found() {
    for (text, found) in FORBIDDEN {
        let findings = of_template(&format!("<p>\n<a{text}x>"));
        assert!(findings.iter().any(|finding| finding.starts_with("2: ")), "{text} {found}");
    }
    for line in ["<a onclick=\"x\">", "<img src=x onerror=y>", "<script>x</script>"] {
        assert_eq!(of_template(line).len(), 1, "{line}");
    }
    let fine = "<p class=\"x\">{{ person|ago }}</p>\n<script src=\"/a.js\" defer></script><option one=\"1\">";
    assert!(of_template(fine).is_empty(), "{:?}", of_template(fine));
    assert_eq!(of_template(&"<br>\n".repeat(MAX_TEMPLATE_LINES + 1)).len(), 1);
}

#[test]
fn the_files_of_others_are_as_published() {
    let page = fs::read_to_string(root("src/console/assets/VENDORED.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let named: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    for row in &rows {
        let bytes = fs::read(root("src/console/assets").join(row[1])).unwrap();
        let hash = Sha256::digest(&bytes)
            .iter()
            .fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
        assert_eq!(hash, row[6], "{}: run scripts/vendor", row[1]);
        let compressed = root("src/console/assets").join(format!("{}.gz", row[1]));
        if compressed.exists() {
            let plain = Command::new("gzip").arg("-dc").arg(compressed).output().unwrap();
            assert!(plain.stdout == bytes, "{}.gz is another file: run scripts/vendor", row[1]);
        }
    }
    let minified = ["js", "css"].into_iter().flat_map(|kind| files("src/console/assets", kind));
    for path in minified {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(
            name.starts_with("console.") || named.contains(&name.as_str()),
            "{name} is not in VENDORED.md"
        );
    }
}

#[test]
fn the_files_are_few_bytes_and_ours_are_short() {
    let assets =
        fs::read_dir(root("src/console/assets")).unwrap().map(|entry| entry.unwrap().path());
    // Of a file that is there by gzip, too, the larger one counts.
    let served = assets.filter(|path| {
        path.extension().is_some_and(|kind| !["md", "gz"].iter().any(|x| kind == *x))
    });
    let bytes: u64 = served.map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= MAX_ASSET_BYTES, "{bytes} bytes, {MAX_ASSET_BYTES} are allowed");
    let scripts = OWN_SCRIPTS.map(|name| own(name).lines().count());
    let style = fs::read_to_string(root("src/console/assets/console.css")).unwrap();
    assert!(scripts.iter().all(|lines| *lines <= MAX_SCRIPT_LINES));
    assert!(style.lines().count() <= MAX_STYLE_LINES);
    assert!(style.lines().all(|line| !line.contains("url(") && !line.contains("@import")));
}

/// A text for people in the script could not be translated, and nothing would check its words.
#[test]
fn our_script_holds_no_text_for_people() {
    let script = OWN_SCRIPTS.map(own).concat();
    assert_eq!(texts(&script), Vec::<String>::new());
    let bad = "say(\"Copied to the clipboard\");\nbox.innerHTML = x;\nconst a = \"a-b c\"; // A text here.\n";
    assert_eq!(texts(bad), ["1: Copied to the clipboard", "2: innerHTML"]);
}

// === private helpers ===

fn of_template(text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_TEMPLATE_LINES {
        findings.push(format!("{lines} lines, {MAX_TEMPLATE_LINES} are allowed: split it"));
    }
    for (at, line) in text.lines().enumerate() {
        for (word, why) in FORBIDDEN {
            if line.contains(word) {
                findings.push(format!("{}: `{}`: {why}", at + 1, word.trim()));
            }
        }
        if has_handler(line) || line.contains("<script>") {
            findings.push(format!("{}: an inline script: use console.js", at + 1));
        }
    }
    findings
}

/// Whether a tag has an attribute such as `onclick=`.
fn has_handler(line: &str) -> bool {
    line.match_indices(" on").any(|(at, _)| {
        let rest = &line[at + 3..];
        let name = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let is_in_tag = line[..at].rfind('<') > line[..at].rfind('>');
        name > 1 && rest[name..].starts_with('=') && is_in_tag
    })
}

/// Literals of several words with a capital or a long word pair, and sinks of texts.
fn texts(script: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in script.lines().enumerate() {
        let code = line.split(" // ").next().unwrap_or_default();
        if code.trim_start().starts_with("//") {
            continue;
        }
        for sink in TEXT_SINKS {
            if code.contains(sink) {
                found.push(format!("{}: {sink}", at + 1));
            }
        }
        for literal in code.split('"').skip(1).step_by(2) {
            let mut words = literal.split(' ');
            let is_sentence = words.clone().count() > 2
                && literal.starts_with(|c: char| c.is_ascii_uppercase())
                && words.all(|word| {
                    word.chars().all(|c| c.is_ascii_alphabetic() || ".,:'".contains(c))
                });
            if is_sentence {
                found.push(format!("{}: {literal}", at + 1));
            }
        }
    }
    found
}

fn own(script: &str) -> String {
    fs::read_to_string(root("src/console/assets").join(script)).unwrap()
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(dir: &str, kind: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root(dir)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let inner = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
            found.extend(files(inner.to_str().unwrap(), kind));
        } else if path.extension().is_some_and(|extension| extension == kind) {
            found.push(path);
        }
    }
    found.sort();
    found
}
