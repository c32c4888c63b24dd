//! The house rules, as tests: each rule is a function from a source file to findings, and each is
//! shown to bite.
//!
//! They read the text, not the meaning: a rule that needs types belongs to clippy.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the finding")]

mod bites;
mod circles;
mod console;
mod docs_api;
mod docs_cli;
mod docs_generated;
mod docs_pages;
mod engines;
mod names;
mod release;
mod source;
mod words;

use source::{Source, body_end, closing, ident_at, words};

/// A file with two ideas wants to be two.
const MAX_FILE_LINES: usize = 400;
/// A function one can see at once.
const MAX_FUNCTION_LINES: usize = 70;
/// `main` hands over to the library.
const MAX_MAIN_LINES: usize = 39;
/// `src/wing/folder/part.rs`, and no deeper.
const MAX_DEPTH: usize = 4;

/// A module may name those of a lower rank, and itself; never one of its own rank.
const RANKS: [(&str, u8); 26] = [
    ("domain", 0),
    ("disk", 0),
    ("config", 1),
    ("tls_roots", 1),
    ("telemetry", 2),
    ("lifecycle", 2),
    ("clock", 2),
    ("web_request", 2),
    ("broker", 3),
    ("store", 3),
    ("pki", 3),
    ("access", 3),
    ("plugin_link", 4),
    ("ingest", 5),
    ("registry", 5),
    ("downlink", 5),
    ("link", 5),
    ("quarantine", 6),
    ("doctor", 6),
    ("http", 7),
    ("mqtt_api", 8),
    ("console", 8),
    ("command", 8),
    ("app", 9),
    ("sim", 10),
    ("cli", 11),
];

/// Each of these crates is named by one module only, or by those that use TLS, so that it can be
/// replaced there.
const OWNED_CRATES: [(&str, &[&str]); 24] = [
    ("smallvec", &["domain"]),
    ("rumqttc", &["broker"]),
    ("tokio_rustls", &["broker", "access", "tls_roots", "web_request", "http", "link"]),
    ("tokio_tungstenite", &["broker"]),
    ("ring", &["broker", "access", "pki", "link", "web_request"]),
    ("base64", &["domain", "broker", "access", "http", "link"]),
    ("hyper", &["web_request", "http", "console"]),
    ("hyper_util", &["web_request"]),
    ("http_body_util", &["web_request", "console"]),
    ("sqlx", &["store"]),
    ("moka", &["ingest"]),
    ("prometheus", &["telemetry"]),
    ("figment", &["config"]),
    ("strsim", &["config"]),
    ("rcgen", &["pki"]),
    ("x509_parser", &["pki", "broker"]),
    ("pem", &["pki"]),
    ("zeroize", &["pki"]),
    ("axum", &["http", "console"]),
    ("askama", &["console"]),
    ("clap", &["cli", "command", "sim"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("comfy_table", &["command"]),
];

/// What is left behind by work that is not done; in two parts, or this file would hold them.
const LEFTOVERS: [&str; 6] = [
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("db", "g!"),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("XX", "X"),
];

/// Names that say nothing.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "helper", "misc"];

/// Line and what is wrong there.
type Finding = (usize, String);
type Rule = fn(&Source) -> Vec<Finding>;

const RULES: [Rule; 11] = [
    it_opens_with_its_purpose,
    it_is_not_too_long,
    its_functions_are_short,
    its_name_says_something,
    it_imports_downwards,
    it_names_no_crate_of_another,
    it_ignores_no_test,
    it_leaves_nothing_behind,
    its_exceptions_have_reasons,
    it_lies_where_one_looks_for_it,
    it_has_unsafe_code_at_the_boundary_only,
];

#[test]
fn every_rule_holds_in_every_source() {
    let sources = Source::all();
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"));
    let mut findings = Vec::new();
    for source in &sources {
        for rule in RULES {
            let of_rule = rule(source).into_iter();
            findings.extend(
                of_rule.map(|(line, finding)| format!("{}:{line}: {finding}", source.path)),
            );
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

// === the rules ===

fn it_opens_with_its_purpose(source: &Source) -> Vec<Finding> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![(1, "open with `//!`: what the file is for, and what it refuses to do".into())]
}

fn it_is_not_too_long(source: &Source) -> Vec<Finding> {
    let allowed = if source.path == "src/main.rs" { MAX_MAIN_LINES } else { MAX_FILE_LINES };
    let lines = source.text.lines().count();
    if lines <= allowed {
        return Vec::new();
    }
    vec![(allowed + 1, format!("{lines} lines, {allowed} are allowed: split it by ideas"))]
}

fn its_functions_are_short(source: &Source) -> Vec<Finding> {
    let code = &source.code;
    let mut findings = Vec::new();
    for start in words(code, "fn") {
        let Some(body) = body_end(code, start) else { continue };
        let lines = code[start..=body].lines().count();
        if lines > MAX_FUNCTION_LINES {
            let name = ident_at(code, start + "fn ".len());
            let finding = format!("`{name}` has {lines} lines, {MAX_FUNCTION_LINES} are allowed");
            findings.push((source.line_of(start), finding));
        }
    }
    findings
}

fn its_name_says_something(source: &Source) -> Vec<Finding> {
    let parts = source.path.trim_end_matches(".rs").split('/');
    let empty = parts.filter(|part| EMPTY_NAMES.contains(part));
    empty.map(|part| (1, format!("`{part}` says nothing: name what is in it"))).collect()
}

fn it_imports_downwards(source: &Source) -> Vec<Finding> {
    let Some(own) = source.module() else { return Vec::new() };
    let Some(own_rank) = rank_of(own) else {
        return vec![(1, format!("module `{own}` has no rank: give it one in RANKS"))];
    };
    let mut findings = Vec::new();
    for (at, other) in crate_paths(source) {
        let below = rank_of(other).is_none_or(|rank| rank < own_rank);
        if other != own && !below {
            findings.push((
                source.line_of(at),
                format!("`{own}` may not name `{other}`: imports go down only"),
            ));
        }
    }
    findings
}

fn it_names_no_crate_of_another(source: &Source) -> Vec<Finding> {
    let in_src = source.path.starts_with("src/");
    let is_owner = |owners: &[&str]| source.module().is_some_and(|module| owners.contains(&module));
    let foreign = OWNED_CRATES.iter().filter(|(_, owners)| in_src && !is_owner(owners));
    let mut findings = Vec::new();
    for (name, owners) in foreign {
        for at in words(&source.code, name) {
            let after = source.code[at + name.len()..].trim_start();
            let is_path = after.starts_with("::") || source.code[..at].trim_end().ends_with("use");
            // `self::clap::` and `crate::telemetry::prometheus::` are our own.
            if is_path && !source.code[..at].ends_with("::") {
                findings.push((
                    source.line_of(at),
                    format!("only `{}` may name the crate `{name}`", owners.join("` and `")),
                ));
            }
        }
    }
    findings
}

fn it_ignores_no_test(source: &Source) -> Vec<Finding> {
    let ignored = source.code.match_indices("#[ignore");
    ignored
        .map(|(at, _)| {
            (source.line_of(at), "an ignored test never runs: fix it or remove it".into())
        })
        .collect()
}

fn it_leaves_nothing_behind(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for word in LEFTOVERS {
        let places = words(&source.text, word).into_iter();
        findings.extend(
            places
                .map(|at| (source.line_of(at), format!("`{word}`: finish it, or write an issue"))),
        );
    }
    findings
}

fn its_exceptions_have_reasons(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for opening in ["#[expect(", "#[allow(", "#![expect(", "#![allow("] {
        for (at, _) in source.code.match_indices(opening) {
            let end = source.code[at..].find(']').map_or(source.code.len(), |length| at + length);
            if words(&source.code[at..end], "reason").is_empty() {
                findings.push((source.line_of(at), "an exception says `reason = \"...\"`".into()));
            }
        }
    }
    findings
}

fn it_lies_where_one_looks_for_it(source: &Source) -> Vec<Finding> {
    let parts: Vec<&str> = source.path.split('/').collect();
    let mut findings = Vec::new();
    if parts.ends_with(&["mod.rs"]) {
        findings.push((1, "a module lies in a file of its name, never in `mod.rs`".into()));
    }
    if parts[0] == "src" && parts.len() > MAX_DEPTH {
        findings.push((1, "too deep: `src/wing/folder/part.rs` is the deepest".into()));
    }
    findings
}

/// The one place that calls C.
const BOUNDARY: &str = "plugin/mosquitto/src/ffi";

fn it_has_unsafe_code_at_the_boundary_only(source: &Source) -> Vec<Finding> {
    if source.path.starts_with(BOUNDARY) {
        return Vec::new();
    }
    let places = words(&source.code, "unsafe").into_iter();
    places.map(|at| (source.line_of(at), format!("unsafe code belongs into {BOUNDARY}"))).collect()
}

fn rank_of(module: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// The top modules a file names, with the place of each: `crate::a`, `crate::{a, b}`, and `super`
/// where it is the root.
fn crate_paths(source: &Source) -> Vec<(usize, &str)> {
    let code = &source.code;
    let root = "super::".repeat(source.path.matches('/').count());
    let mut paths = Vec::new();
    for prefix in ["crate::", root.as_str()] {
        for (at, _) in code.match_indices(prefix) {
            let rest = at + prefix.len();
            if !code[rest..].starts_with('{') {
                paths.push((at, ident_at(code, rest)));
                continue;
            }
            let end = closing(code, rest).unwrap_or(code.len());
            let mut depth = 0;
            for (offset, byte) in code[rest..end].bytes().enumerate() {
                depth += i32::from(byte == b'{') - i32::from(byte == b'}');
                if depth == 1 && matches!(byte, b'{' | b',') {
                    let name = rest + offset + 1;
                    let space = code[name..].len() - code[name..].trim_start().len();
                    paths.push((at, ident_at(code, name + space)));
                }
            }
        }
    }
    paths
}
