//! Each rule, shown to find what it forbids and to let pass what it allows.

use super::source::Source;
use super::*;

/// The lines at which a rule finds something in a file of this path and text.
fn lines(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(path, text)).into_iter().map(|(line, _)| line).collect()
}

#[test]
fn a_file_without_a_purpose_is_found() {
    assert_eq!(lines(it_opens_with_its_purpose, "src/app.rs", "use std::fs;\n"), [1]);
    assert!(lines(it_opens_with_its_purpose, "src/app.rs", "//! Wires the daemon.\n").is_empty());
}

#[test]
fn a_long_file_is_found_and_a_long_main_sooner() {
    let text = "\n".repeat(MAX_FILE_LINES);
    assert!(lines(it_is_not_too_long, "src/app.rs", &text).is_empty());
    assert_eq!(lines(it_is_not_too_long, "tests/it/x.rs", &(text + "\n")), [401]);
    assert_eq!(lines(it_is_not_too_long, "src/main.rs", &"\n".repeat(40)), [40]);
}

#[test]
fn a_long_function_is_found() {
    let function = |lines: usize| {
        format!("\nimpl X {{\nfn f(a: [u8; 2]) -> A<B, C> {{\n{}}}\n}}\n", "x;\n".repeat(lines))
    };
    assert_eq!(lines(its_functions_are_short, "src/app.rs", &function(69)), [3]);
    let fine = function(68)
        + "trait Y { fn g(); }\ntype F = fn(u8) -> u8;\nfn h() { '{'; \"{\"; }\n"
        + &"\n".repeat(99);
    assert!(lines(its_functions_are_short, "src/app.rs", &fine).is_empty());
}

#[test]
fn an_empty_name_is_found() {
    for path in ["src/utils.rs", "src/store/common.rs", "tests/it/helpers/x.rs"] {
        assert_eq!(lines(its_name_says_something, path, ""), [1], "{path}");
    }
    assert!(lines(its_name_says_something, "src/store/commonality.rs", "").is_empty());
}

#[test]
fn an_import_upwards_or_sideways_is_found() {
    let upwards = "//! x\nuse crate::app::App;\n";
    assert_eq!(lines(it_imports_downwards, "src/store/rows.rs", upwards), [2]);
    assert_eq!(
        lines(it_imports_downwards, "src/broker.rs", "fn f() {\n    crate::store::rows();\n}\n"),
        [2]
    );
    let group = "use crate::{\n    domain::{ids, http},\n    http::routes,\n    store,\n};\n";
    assert_eq!(lines(it_imports_downwards, "src/ingest/batch.rs", group), [1]);
    assert_eq!(lines(it_imports_downwards, "src/broker.rs", "use super::ingest;\n"), [1]);
    assert_eq!(
        lines(it_imports_downwards, "src/broker/link.rs", "use super::super::ingest;\n"),
        [1]
    );
    let deep = "use super::super::super::ingest;\n";
    assert_eq!(lines(it_imports_downwards, "src/broker/session/link.rs", deep), [1]);
    assert_eq!(lines(it_imports_downwards, "src/brand_new.rs", ""), [1]);
}

#[test]
fn an_import_downwards_passes() {
    let text = "//! crate::http is not named here.\nuse crate::domain::ids;\nuse crate::{config, store::rows};\nuse super::http;\n";
    assert!(lines(it_imports_downwards, "src/store/rows.rs", text).is_empty());
    assert!(lines(it_imports_downwards, "src/lib.rs", "use crate::app;\n").is_empty());
}

#[test]
fn a_crate_named_outside_its_wing_is_found() {
    let text =
        "use std::fmt;\nuse sqlx as db;\nfn f() -> axum::Router {}\n#[derive(clap :: Parser)]\n";
    assert_eq!(lines(it_names_no_crate_of_another, "src/broker/link.rs", text), [2, 3, 4]);
    assert!(lines(it_names_no_crate_of_another, "tests/it/x.rs", text).is_empty());
    let fine = "use sqlx::Row;\nlet axum = 1;\n// axum::Router\nlet x = \"clap::Parser\";\nuse super::http::axum::x;\n";
    assert!(lines(it_names_no_crate_of_another, "src/store/rows.rs", fine).is_empty());
}

#[test]
fn an_ignored_test_is_found() {
    assert_eq!(
        lines(it_ignores_no_test, "tests/it/x.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}\n"),
        [2]
    );
}

#[test]
fn what_is_left_behind_is_found() {
    for word in LEFTOVERS {
        assert_eq!(
            lines(it_leaves_nothing_behind, "src/app.rs", &format!("//! x\n// {word}")),
            [2],
            "{word}"
        );
    }
    assert!(
        lines(it_leaves_nothing_behind, "src/app.rs", "// What is to do stands in the issues.\n")
            .is_empty()
    );
}

#[test]
fn an_exception_without_a_reason_is_found() {
    let bare =
        "#[expect(dead_code)]\n#![allow(\n    dead_code,\n)]\n#[expect(x, reason = \"because\")]\n";
    assert_eq!(lines(its_exceptions_have_reasons, "src/app.rs", bare), [1, 2]);
    let spoken = "#[expect(clippy::x)] // reason = none\n";
    assert_eq!(lines(its_exceptions_have_reasons, "src/app.rs", spoken), [1]);
}

#[test]
fn a_file_in_a_wrong_place_is_found() {
    assert_eq!(lines(it_lies_where_one_looks_for_it, "src/store/mod.rs", ""), [1]);
    assert_eq!(lines(it_lies_where_one_looks_for_it, "src/store/rows/copy/binary.rs", ""), [1]);
    assert!(lines(it_lies_where_one_looks_for_it, "src/store/rows/copy.rs", "").is_empty());
    assert!(lines(it_lies_where_one_looks_for_it, "tests/it/support/dir.rs", "").is_empty());
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "a /* b\n */ \"c \\\" d\" e 'f' '\\'' '\"' r#\"g \" h\"# i // j\nlet k: &'static str = b\"l\"; r#type 'é'";
    let words: Vec<String> =
        Source::new("x", text).code.split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "e", "i", "let", "k:", "&'static", "str", "=", "b", ";", "r#type"]);
}

#[test]
fn unsafe_code_outside_the_boundary_is_found() {
    let code = "fn f() {\n    unsafe { g() }\n}\n";
    for path in ["src/app.rs", "plugin/mosquitto/src/link.rs", "plugin/shared/src/ids.rs"] {
        assert_eq!(lines(it_has_unsafe_code_at_the_boundary_only, path, code), [2], "{path}");
    }
    let boundary = "plugin/mosquitto/src/ffi/client.rs";
    assert!(lines(it_has_unsafe_code_at_the_boundary_only, boundary, code).is_empty());
    let named = "//! It has no `unsafe` code.\n";
    assert!(lines(it_has_unsafe_code_at_the_boundary_only, "src/app.rs", named).is_empty());
}
