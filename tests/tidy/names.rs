//! One type name, one type: no struct, enum or trait of `src` shares its name with another.

use std::collections::BTreeMap;

use super::source::{Source, ident_at, words};

#[test]
fn no_type_name_stands_twice() {
    let twice = duplicates(&Source::all());
    assert!(twice.is_empty(), "one name for two types:\n{}", twice.join("\n"));
}

#[test]
fn a_type_name_that_stands_twice_is_found() {
    let source = |path, text: &str| Source::new(path, text);
    let twice = [
        source("src/a.rs", "pub struct Row;\n"),
        source("src/b.rs", "enum Row { A }\n// struct Tally\n"),
    ];
    assert_eq!(duplicates(&twice), ["`Row`: src/a.rs, src/b.rs"]);
    let fine = [
        source("src/a.rs", "struct Row;\n"),
        source("tests/it/x.rs", "struct Row;\nimpl Row {}\n"),
    ];
    assert!(duplicates(&fine).is_empty());
}

fn duplicates(sources: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        for keyword in ["struct", "enum", "trait"] {
            for at in words(&source.code, keyword) {
                let name = ident_at(&source.code, at + keyword.len() + 1);
                let is_inline =
                    source.code[..at].rsplit('\n').next().is_some_and(|line| line.starts_with(' '));
                if !name.is_empty() && !is_inline {
                    places.entry(name).or_default().push(&source.path);
                }
            }
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    twice.map(|(name, places)| format!("`{name}`: {}", places.join(", "))).collect()
}
