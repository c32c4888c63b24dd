//! Plain technical English: words that make a reader read a sentence twice stay out of everything
//! that a person reads. CONTRIBUTING.md names better ones.
//!
//! The rule reads whole files: comments, literals and prose. It knows words, not style.

use std::fs;
use std::path::Path;

use super::source::Source;

/// In lower case. A phrase is also found across a line break, a comment marker and the pieces of a
/// `concat!`.
const BANNED: [&str; 20] = [
    "anew",
    "likewise",
    "whoever",
    "amiss",
    "for ever",
    "in its stead",
    "in its place",
    "mend",
    "mends",
    "mended",
    "heard of",
    "in vain",
    "is told",
    "was told",
    "no more",
    "believe",
    "believes",
    "believed",
    "vouches",
    "vouched",
];

/// A banned word that is part of one of these is plain.
const PLAIN: [&str; 1] = ["no more than"];

/// What is read besides the sources. An applied migration never changes, so of `migrations` only
/// its page is read.
const OTHERS: [&str; 10] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "compose",
    "scripts",
    "migrations/README.md",
    "Cargo.toml",
    "deny.toml",
];

/// This file names the words.
const OWN: &str = "tests/tidy/words.rs";

/// A word in lower case, its line, and what stands between it and the word before.
struct Word {
    text: String,
    line: usize,
    gap: String,
}

#[test]
fn no_banned_word_is_used() {
    let mut texts: Vec<(String, String)> =
        Source::all().into_iter().map(|source| (source.path, source.text)).collect();
    for name in OTHERS {
        read(name, &mut texts);
    }
    assert!(texts.len() > 400, "only {} texts were found", texts.len());
    let read = texts.iter().filter(|(path, _)| path != OWN);
    let findings: Vec<String> = read.flat_map(|(path, text)| findings(path, text)).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn each_banned_word_is_found_wherever_it_stands() {
    for word in BANNED {
        let capital = word[..1].to_uppercase() + &word[1..];
        let broken = word.replace(' ', "\n    /// ");
        let continued = word.replace(' ', " \\\n        ");
        let in_pieces = word.replace(' ', " \",\n    \"");
        for text in [
            format!("/// It is {word}, here.\n"),
            format!("// {capital}: so.\n"),
            format!("//! It is {}\n", word.to_uppercase()),
            format!("    /// It is {broken}.\n"),
            format!("let a = \"It is {word}.\";\n"),
            format!("let a = \"It is\\n{word}: {{b}}\";\n"),
            format!("let a = \"It is {continued}.\";\n"),
            format!("let a = concat!(\"It is {in_pieces}.\");\n"),
            format!("error!(\"{capital}\");\n"),
            format!("# {capital} this, in YAML.\n"),
        ] {
            assert_eq!(findings("src/x.rs", &text).len(), 1, "{text}");
        }
        let name = format!("fn it_is_{}_here() {{}}\n", word.replace(' ', "_"));
        assert_eq!(findings("tests/it/x.rs", &name).len(), 1, "{name}");
        assert_eq!(findings("docs/x.md", &format!("# X\n\n- so {capital}\n")).len(), 1, "{word}");
        assert_eq!(findings("docs/x.md", &format!("```\n{word}\n```\n")).len(), 1, "{word}");
    }
}

#[test]
fn a_word_that_only_looks_like_a_banned_one_passes() {
    for word in BANNED {
        let text = format!("// x{word}x {word}x\nlet {}_x = 1;\n", word.replace(' ', "_"));
        assert!(findings("src/x.rs", &text).is_empty(), "{text}");
        let span = format!("Do not write `{word}`.\n");
        assert!(findings("CONTRIBUTING.md", &span).is_empty(), "{span}");
    }
    let fine = "// No more than the burst; it was recommended. It heard. Of what? No: more.\n";
    assert!(findings("src/x.rs", fine).is_empty());
}

#[test]
fn a_finding_names_its_line() {
    let text = "one\n\ntwo is\n// told\n";
    assert_eq!(findings("src/x.rs", text), ["src/x.rs:3: `is told`"]);
}

fn read(name: &str, texts: &mut Vec<(String, String)>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if path.is_dir() {
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap().file_name().into_string().unwrap();
            read(&format!("{name}/{entry}"), texts);
        }
    } else if let Ok(text) = fs::read_to_string(&path) {
        texts.push((name.to_owned(), text));
    }
}

fn findings(path: &str, text: &str) -> Vec<String> {
    let is_page = Path::new(path).extension().is_some_and(|extension| extension == "md");
    // In `src` a name is one word; the name of a test is a sentence.
    let splits_names = path.starts_with("tests/");
    let words = words(&if is_page { without_spans(text) } else { text.to_owned() }, splits_names);
    let mut findings = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let stands = |phrase: &str| stands_at(&words[at..], phrase);
        if let Some(banned) = BANNED.into_iter().find(|phrase| stands(phrase))
            && !PLAIN.into_iter().any(stands)
        {
            findings.push(format!("{path}:{}: `{banned}`", word.line));
        }
    }
    findings
}

fn stands_at(words: &[Word], phrase: &str) -> bool {
    let parts: Vec<&str> = phrase.split(' ').collect();
    words.len() >= parts.len()
        && words
            .iter()
            .zip(&parts)
            .enumerate()
            .all(|(place, (word, part))| word.text == *part && (place == 0 || is_open(&word.gap)))
}

/// Whether two words with this between them are read as one phrase.
fn is_open(gap: &str) -> bool {
    let inside: String =
        gap.chars().filter(|c| !c.is_whitespace() && !r"\/!#*>_".contains(*c)).collect();
    inside.is_empty() || inside == "\",\""
}

fn words(text: &str, splits_names: bool) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut gap = String::new();
    let mut is_inside = false;
    let mut line = 1;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_letter = c.is_alphanumeric() || (c == '_' && !splits_names);
        if is_letter && !is_inside {
            words.push(Word { text: String::new(), line, gap: std::mem::take(&mut gap) });
        }
        is_inside = is_letter;
        match words.last_mut() {
            Some(word) if is_letter => word.text.extend(c.to_lowercase()),
            _ => gap.push(c),
        }
        // The letter of an escape belongs to no word.
        if c == '\\' && chars.peek().is_some_and(|next| matches!(next, 'n' | 't' | 'r')) {
            chars.next();
        }
        line += usize::from(c == '\n');
    }
    words
}

/// The text of a page without its code spans; its fenced blocks stay.
fn without_spans(page: &str) -> String {
    let mut is_fenced = false;
    let mut text = String::new();
    for line in page.lines() {
        is_fenced ^= line.trim_start().starts_with("```");
        if is_fenced {
            text.push_str(line);
        } else {
            text.push_str(&line.split('`').step_by(2).collect::<Vec<_>>().join("`"));
        }
        text.push('\n');
    }
    text
}
