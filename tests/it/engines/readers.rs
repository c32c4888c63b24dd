//! What a login of one tenant reaches: each relation that it may read, each shard and chunk, and ways
//! around the filter, on each layout. Nothing of another tenant is there, and it changes nothing.

use crate::engines::cluster::Nodes;
use crate::engines::timescale::{close_open_functions, with_timescale};
use crate::engines::{DASHBOARDS, run};
use crate::support::daemon::Settings;
use crate::support::database::{Database, query_at};
use crate::support::postgres::Postgres;
use crate::support::test_daemon::TestDaemon;

/// Each value of the other tenant says so; those of the reader say `own`.
const ROWS: &str = "INSERT INTO tenants (tenant_id) VALUES ('sluice-sim-000'), ('h1dden');
    INSERT INTO devices (tenant_id, device_id) VALUES ('sluice-sim-000', 'own-1'), ('h1dden', 'h1dden-1');
    INSERT INTO quarantine_events (id, received_at, topic, tenant_id, device_id, reason, detail, payload, message_id)
        VALUES (gen_random_uuid(), now(), 'h1dden', 'h1dden', 'h1dden-1', 'TOPIC_INVALID', 'h1dden', 'h1dden', gen_random_uuid());
    INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
        SELECT now() - make_interval(days => n % 2 * 3, secs => n), now(), tenant, word || '-' || n % 20, 'telemetry',
            jsonb_build_object('word', word), gen_random_uuid()
        FROM generate_series(1, 2000) n, (VALUES ('sluice-sim-000', 'own'), ('h1dden', 'h1dden')) AS of (tenant, word);
    ANALYZE";

/// Each relation that the session may read, with the columns. Citus hides its shards otherwise.
const RELATIONS: &str = "SET citus.override_table_visibility = off;
    SELECT c.oid::regclass::text, string_agg(quote_ident(a.attname), ', ') FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_schema_privilege(c.relnamespace, 'USAGE')
        AND has_column_privilege(c.oid, a.attnum, 'SELECT') AND c.relnamespace <> 'information_schema'::regnamespace
    -- These show the session's own statement.
    AND c.relname NOT IN ('pg_stat_activity', 'citus_stat_activity', 'citus_dist_stat_activity', 'pg_prepared_statements',
        'pg_cursors')
    GROUP BY c.oid";

/// Sees a value before the filter does, if the planner lets it, and then fails.
const SPY: &str =
    "CREATE FUNCTION pg_temp.spy(value text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
    $$ BEGIN IF value LIKE '%h1dden%' THEN RAISE 'saw %', value; END IF; RETURN true; END $$;";

/// Ways around the filter of `{}`; each counts rows of the other tenant, or fails when it sees one.
const DETOURS: [&str; 6] = [
    "SELECT count(*) FROM {} WHERE 1 / (CASE WHEN device_id LIKE 'h1dden%' THEN 0 ELSE 1 END) = 0",
    "SELECT count(*) FROM {} WHERE (metrics->>'word') <> 'own'",
    "SELECT count(*) FROM (SELECT max(device_id) AS top, min(device_id) AS low FROM {}) AS ends WHERE top LIKE 'h%' OR low LIKE 'h%'",
    "SELECT count(*) FROM (SELECT DISTINCT ON (device_id) device_id FROM {} ORDER BY device_id, time DESC) AS latest
        WHERE device_id LIKE 'h1dden%'",
    "PREPARE p AS SELECT count(*) FROM {} WHERE device_id NOT LIKE 'own%'; SET plan_cache_mode = force_generic_plan;
        EXECUTE p; SET app.tenant_id = 'nobody'; EXECUTE p; RESET app.tenant_id; EXECUTE p",
    "BEGIN; DECLARE c CURSOR FOR SELECT count(*) FROM {} WHERE tenant_id = 'h1dden'; FETCH ALL FROM c; COMMIT",
];

/// Statements that a login must be refused; the first chunk is `{}`.
const CHANGES: [&str; 8] = [
    "SELECT _timescaledb_functions.drop_chunk('{}')",
    "SELECT _timescaledb_functions.freeze_chunk('{}')",
    "SELECT _timescaledb_internal.drop_chunk('{}')",
    "SELECT drop_chunks('telemetry', older_than => now())",
    "CALL convert_to_rowstore('{}'::regclass)",
    "SELECT add_retention_policy('telemetry', INTERVAL '1 minute')",
    "SELECT timescaledb_pre_restore()",
    "SELECT count(*) FROM {}",
];

/// A login of the tests, at a server of the database.
fn login(server: &Postgres, database: &Database<'_>, role: &str) -> String {
    format!("postgres://{role}:x@127.0.0.1:{}/{}", server.port(), database.name())
}

/// No relation that the login may read has a value of the other tenant.
fn reaches_nothing_hidden(url: &str) {
    let relations = query_at(url, RELATIONS).unwrap();
    assert!(relations.len() > 100, "{relations:?}");
    for relation in &relations {
        let (name, columns) = (&relation[0], &relation[1]);
        let sql = format!(
            "SET citus.override_table_visibility = off;
            SELECT count(*) FROM (SELECT {columns} FROM {name}) AS rows WHERE rows::text LIKE '%h1dden%'"
        );
        // Some views call what only a superuser may.
        if let Ok(rows) = query_at(url, &sql) {
            assert_eq!(rows[0][0], "0", "{name}");
        } else {
            assert!(!name.contains("telemetry"), "{name}: {:?}", query_at(url, &sql));
        }
    }
}

/// The filter of the relation holds for each detour.
fn no_detour_sees(url: &str, relation: &str, with_functions: bool) {
    for detour in DETOURS {
        let sql = detour.replace("{}", relation);
        for row in query_at(url, &sql).unwrap_or_else(|error| panic!("{sql}: {error}")) {
            assert_eq!(row[0], "0", "{sql}");
        }
    }
    if with_functions {
        for column in ["tenant_id", "device_id", "metrics::text"] {
            let sql = format!("{SPY} SELECT count(*) FROM {relation} WHERE pg_temp.spy({column})");
            assert!(query_at(url, &sql).is_ok(), "{:?}", query_at(url, &sql));
        }
    }
}

fn each_login_is_limited(server: &Postgres, database: &Database<'_>, relations: &[&str]) {
    for role in ["of_sim", "of_other", "of_none"] {
        let url = login(server, database, role);
        reaches_nothing_hidden(&url);
        for relation in relations {
            no_detour_sees(&url, relation, true);
        }
    }
}

#[test]
fn a_login_reaches_nothing_of_another_tenant_in_partitions() {
    let server = Postgres::private_with(&[("fsync", "off")]);
    let database = server.database();
    database.query(&format!("{ROWS}; {DASHBOARDS}"));
    each_login_is_limited(&server, &database, &["telemetry", "telemetry_mine"]);
}

#[test]
fn a_login_reaches_nothing_of_another_tenant_in_chunks_and_changes_none() {
    let Some(server) = with_timescale() else { return };
    let database = server.database();
    database.query("CREATE EXTENSION timescaledb");
    database.query(&format!("{ROWS}; {DASHBOARDS}"));
    close_open_functions(&database);
    let builder = TestDaemon::builder().broker().on_database(&database);
    let change = |settings: &Settings, line: &[&str]| {
        let (code, done) = run(settings, line);
        assert_eq!(code, 0, "{done}");
    };
    change(builder.settings(), &["store", "hypertable", "--yes"]);
    each_login_is_limited(&server, &database, &["telemetry", "telemetry_mine"]);
    changes_no_chunk(&server, &database);
    change(builder.settings(), &["store", "hypertable", "--columnstore", "--yes"]);
    let old = "SELECT show_chunks('telemetry', older_than => INTERVAL '2 days')::text";
    for chunk in database.query(old).into_iter().flatten() {
        database.query(&format!("CALL convert_to_columnstore('{chunk}')"));
    }
    database.query("ANALYZE");
    each_login_is_limited(&server, &database, &["telemetry_mine"]);
    changes_no_chunk(&server, &database);
}

/// A login is refused each change, also in a chunk that was made after the grants.
fn changes_no_chunk(server: &Postgres, database: &Database<'_>) {
    database.query(
        "INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
         VALUES (now() - INTERVAL '9 days', now(), 'h1dden', 'h1dden-1', 'telemetry', '{}', gen_random_uuid())",
    );
    let url = login(server, database, "of_none");
    for chunk in database.query("SELECT show_chunks('telemetry')::text").into_iter().flatten() {
        for change in CHANGES {
            let sql = change.replace("{}", &chunk);
            let refused = query_at(&url, &sql).expect_err(&sql).to_string();
            assert!(
                refused.contains("permission denied") || refused.contains("must be"),
                "{sql}: {refused}"
            );
        }
    }
}

#[test]
fn a_login_reaches_nothing_of_another_tenant_on_the_nodes_of_citus() {
    let Some(nodes) = Nodes::start() else { return };
    let database = nodes.database();
    for statement in DASHBOARDS.split(';') {
        database.query(statement);
    }
    database.query(ROWS);
    let builder = TestDaemon::builder().broker().on_database(&database);
    let (code, done) = run(builder.settings(), &["store", "spread", "--shards", "8", "--yes"]);
    assert_eq!(code, 0, "{done}");
    for server in [&nodes.coordinator, &nodes.workers[0], &nodes.workers[1]] {
        for role in ["of_sim", "of_other", "of_none"] {
            let url = login(server, &database, role);
            reaches_nothing_hidden(&url);
            no_detour_sees(&url, "telemetry", false);
        }
    }
    let url = login(&nodes.coordinator, &database, "of_sim");
    no_detour_sees(&url, "telemetry_mine", false);
    for relation in ["telemetry", "telemetry_late"] {
        let on_shards = format!(
            "SELECT count(*) FROM run_command_on_shards('{relation}', $$ SELECT max(tenant_id) FROM %s $$) WHERE result = 'h1dden'"
        );
        assert_eq!(query_at(&url, &on_shards).unwrap()[0][0], "0");
    }
}
