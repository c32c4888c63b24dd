//! `docs/reference/tables.md` follows from the comments in a migrated database. `UPDATE_DOCS=1`
//! writes the page; without it, a stale page or a column without a comment is a failure.
//!
//! It lists no partition, and not the table in which sqlx keeps the migrations that were applied.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::database::Database;
use crate::support::postgres::Postgres;

/// The first line of the generated block, and its last.
const BEGIN: &str = "<!-- generated: UPDATE_DOCS=1 cargo test --test it docs::tables -->";
const END: &str = "<!-- end of generated -->";

/// Each column with its table: names, comments, type, and whether it may be null.
const COLUMNS: &str = r"
SELECT c.relname, coalesce(obj_description(c.oid, 'pg_class'), ''), a.attname,
    format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN '' ELSE ', null' END,
    coalesce(col_description(c.oid, a.attnum), '')
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
    AND c.relnamespace = current_schema()::regnamespace AND c.relname <> '_sqlx_migrations'
ORDER BY c.relname, a.attnum";

/// A table: its comment, and for each column the name, the type, the comment.
type Tables = BTreeMap<String, (String, Vec<[String; 3]>)>;

#[test]
fn the_page_of_tables_is_current() {
    let database = Postgres::shared().database();
    let tables = tables(&database);
    assert!(tables.len() >= 19, "{}", tables.len());
    let uncommented = uncommented(&tables);
    assert!(uncommented.is_empty(), "COMMENT ON is missing: {uncommented:?}");
    let text = fs::read_to_string(page()).unwrap();
    let expected = with_block(&text, &block(&tables));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(page(), expected).unwrap();
        return;
    }
    assert!(
        text == expected,
        "docs/reference/tables.md is stale; \
         write it with `UPDATE_DOCS=1 cargo test --test it docs::tables`"
    );
}

#[test]
fn a_table_or_a_column_without_a_comment_is_found_and_a_comment_reaches_the_page() {
    let database = Postgres::shared().database();
    database.query("CREATE TABLE bare (id bigint NOT NULL)");
    database.query("COMMENT ON COLUMN tenants.name IS NULL");
    database.query("CREATE VIEW seen AS SELECT 1 AS one");
    database.query("COMMENT ON VIEW seen IS 'A view.'");
    database.query("COMMENT ON COLUMN seen.one IS 'One | or <t>.'");
    let tables = tables(&database);
    assert_eq!(uncommented(&tables), ["bare", "bare.id", "tenants.name"]);
    let expected = "## `seen`\n\nA view.\n\n| column | type | meaning |\n|---|---|---|\n\
                    | `one` | integer, null | One \\| or \\<t>. |\n";
    assert!(block(&tables).contains(expected), "{}", block(&tables));
    assert_ne!(with_block(&format!("a\n{BEGIN}\n{END}\nb\n"), "x\n"), "a\n");
}

fn tables(database: &Database<'_>) -> Tables {
    let mut tables = Tables::new();
    for row in database.query(COLUMNS) {
        let [table, about, column, kind, meaning] = <[String; 5]>::try_from(row).unwrap();
        tables.entry(table).or_insert((about, Vec::new())).1.push([column, kind, meaning]);
    }
    tables
}

fn uncommented(tables: &Tables) -> Vec<String> {
    let mut found = Vec::new();
    for (table, (about, columns)) in tables {
        if about.is_empty() {
            found.push(table.clone());
        }
        let bare = columns.iter().filter(|[_, _, meaning]| meaning.is_empty());
        found.extend(bare.map(|[column, _, _]| format!("{table}.{column}")));
    }
    found
}

fn block(tables: &Tables) -> String {
    // A bar would end the cell, and a name in angle brackets would count as markup.
    let cell = |text: &str| text.replace('|', "\\|").replace('<', "\\<");
    let mut block = String::new();
    for (table, (about, columns)) in tables {
        let _ = writeln!(block, "## `{table}`\n\n{}\n", cell(about));
        block.push_str("| column | type | meaning |\n|---|---|---|\n");
        for [column, kind, meaning] in columns {
            let _ = writeln!(block, "| `{column}` | {kind} | {} |", cell(meaning));
        }
        block.push('\n');
    }
    block.trim_end().to_owned() + "\n"
}

fn with_block(page: &str, block: &str) -> String {
    let (before, rest) = page.split_once(BEGIN).expect("the page has a generated block");
    let (_, after) = rest.split_once(END).expect("the generated block ends");
    format!("{before}{BEGIN}\n\n{block}\n{END}{after}")
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/tables.md")
}
