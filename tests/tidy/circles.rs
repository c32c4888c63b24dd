//! No two files import each other, neither directly nor in a ring.
//!
//! It reads `use` trees and every path in the code, also one that begins with the name of a child
//! module (`load::reader::read(..)` in `config.rs`). Test modules do not count: a test imports what
//! it tests.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, closing, ident_at};

type Module = Vec<String>;
type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// Where the files of each package lie.
const ROOTS: [&str; 3] = ["src/", "plugin/mosquitto/src/", "plugin/shared/src/"];

#[test]
fn no_files_import_each_other() {
    let sources = Source::all();
    for root in ROOTS {
        let rings = rings(&imports(&sources, root));
        assert!(rings.is_empty(), "files of {root} that import each other:\n{}", rings.join("\n"));
    }
}

#[test]
fn a_ring_of_imports_is_found() {
    let source = |path, text: &str| Source::new(path, text);
    let pair = [
        source("src/store.rs", "mod rows;\nmod sink;\n"),
        source("src/store/rows.rs", "use super::sink::{self, Sink};\n"),
        source("src/store/sink.rs", "fn f() -> crate::store::rows::Row {}\n"),
    ];
    assert_eq!(rings(&imports(&pair, "src/")), ["store::rows, store::sink"]);

    let ring = [
        source("src/a.rs", "use b::B;\n"),
        source("src/a/b.rs", "use crate::{c, d::e};\n"),
        source("src/c.rs", "use super::a::A;\n"),
    ];
    assert_eq!(rings(&imports(&ring, "src/")), ["a, a::b, c"]);

    let bare = [
        source("src/config.rs", "pub mod load;\nfn f() {\n    load::checks::check();\n}\n"),
        source("src/config/load.rs", "pub mod checks;\n"),
        source("src/config/load/checks.rs", "use crate::config::Config;\n"),
    ];
    assert_eq!(rings(&imports(&bare, "src/")), ["config, config::load::checks"]);

    let fine = [
        source("src/store/rows.rs", "use super::sink::Sink;\n"),
        source(
            "src/store/sink.rs",
            "// super::rows\n#[cfg(test)]\nmod tests {\n    use super::super::rows::Row;\n}\n",
        ),
        // Neither `rows` names the module `store::rows`.
        source("src/store/sink/text.rs", "use super::copy::Copy;\n"),
        source("src/store/sink/copy.rs", "fn f() {\n    rows::g();\n    x.rows::<u8>();\n}\n"),
        source("src/store.rs", "fn f() {\n    other::rows::g();\n    x.rows::<u8>();\n}\n"),
        source("src/store/sink/rows.rs", "use super::{copy::Copy, text};\n"),
    ];
    assert!(rings(&imports(&fine, "src/")).is_empty());
}

/// What each file below `root` imports, by module.
fn imports(sources: &[Source], root: &str) -> Imports {
    let modules: BTreeSet<Module> =
        sources.iter().filter_map(|source| module(source, root)).collect();
    let mut imports = Imports::new();
    for source in sources {
        let Some(own) = module(source, root) else { continue };
        let code = without_tests(&source.code);
        let mut named = BTreeSet::new();
        for path in paths(&code) {
            let Some(absolute) = absolute(&own, &path, &modules) else { continue };
            let known = (1..=absolute.len()).rev().map(|length| absolute[..length].to_vec());
            named.extend(
                known
                    .into_iter()
                    .find(|module| modules.contains(module))
                    .filter(|module| *module != own),
            );
        }
        imports.insert(own, named);
    }
    imports
}

/// The module of a file below `root`; `None` for the roots, for tests, and for files elsewhere.
fn module(source: &Source, root: &str) -> Option<Module> {
    let path = source.path.strip_prefix(root)?.strip_suffix(".rs")?;
    let is_root = path == "lib" || path == "main";
    (!is_root && !path.ends_with("tests")).then(|| path.split('/').map(str::to_owned).collect())
}

fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    while let Some(at) = code.find("#[cfg(test)]\nmod ") {
        let rest = at + "#[cfg(test)]\nmod ".len();
        let end = rest + code[rest..].find(['{', ';']).unwrap_or(code.len() - rest - 1);
        let end = if code[end..].starts_with('{') {
            closing(&code, end).unwrap_or(code.len() - 1)
        } else {
            end
        };
        code.replace_range(at..=end, "");
    }
    code
}

/// Every path that may begin in this crate: those in `use` trees, and all others of two or more
/// names. [`absolute`] drops those into other crates.
fn paths(code: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].trim_end_matches(' ');
        if before.is_empty() || before.ends_with(['\n', ')']) || before.ends_with("pub") {
            let end = at + code[at..].find(';').unwrap_or(code.len() - at);
            tree(&[], code[at + "use ".len()..end].trim(), &mut paths);
        }
    }
    for (at, _) in code.match_indices("::") {
        let first = code[..at]
            .rfind(|c: char| !c.is_alphanumeric() && c != '_')
            .map_or(0, |before| before + code[before..].chars().next().map_or(1, char::len_utf8));
        // Only the first name of a path counts, and `x.name::<T>()` is a method.
        if first == at || code[..first].ends_with([':', '.']) {
            continue;
        }
        // The braces of `super::{a, b}` are opened above.
        let path = path_at(code, first);
        if path.iter().any(|part| !matches!(part.as_str(), "crate" | "self" | "super")) {
            paths.push(path);
        }
    }
    paths
}

/// The paths of a `use` tree, braces opened.
fn tree(prefix: &[String], text: &str, paths: &mut Vec<Module>) {
    if let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        let mut depth = 0;
        for part in inner.split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        }) {
            tree(prefix, part.trim(), paths);
        }
        return;
    }
    let first = ident_at(text, 0);
    let path = [prefix, &[first.to_owned()]].concat();
    match text[first.len()..].strip_prefix("::") {
        Some(rest) => tree(&path, rest.trim(), paths),
        None => paths.push(path),
    }
}

fn path_at(code: &str, at: usize) -> Module {
    let end = code[at..]
        .find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | ':'))
        .unwrap_or(code.len() - at);
    code[at..at + end].split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The path from the root of the crate; `None` for a path into another crate.
fn absolute(own: &[String], path: &[String], modules: &BTreeSet<Module>) -> Option<Module> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    match path.first().map(String::as_str) {
        Some("crate") => Some(path[1..].to_vec()),
        Some("self") => Some([own, &path[1..]].concat()),
        Some("super") => Some([own.get(..own.len().checked_sub(ups)?)?, &path[ups..]].concat()),
        Some(first) => {
            let child = [own, &[first.to_owned()]].concat();
            modules.contains(&child).then(|| [own, path].concat())
        }
        None => None,
    }
}

/// The groups of files that reach each other by imports, each group in one line.
fn rings(imports: &Imports) -> Vec<String> {
    let reach: BTreeMap<&Module, BTreeSet<&Module>> =
        imports.keys().map(|from| (from, reachable(imports, from))).collect();
    let mut groups = BTreeSet::new();
    for (from, reached) in &reach {
        if reached.contains(from) {
            let ring =
                reached.iter().filter(|to| reach.get(*to).is_some_and(|back| back.contains(from)));
            groups.insert(ring.map(|module| module.join("::")).collect::<Vec<_>>().join(", "));
        }
    }
    groups.into_iter().collect()
}

fn reachable<'a>(imports: &'a Imports, from: &Module) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = imports[from].iter().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(imports.get(module).into_iter().flatten());
        }
    }
    reached
}
