//! Functions of an engine that every login may call, a tenant's dashboard included, although they reach
//! what belongs to all tenants.
//!
//! It revokes nothing: the functions belong to the superuser that made the extension.

use sqlx::PgConnection;

/// The functions that a member of `sluice_reader` may call. Timescale checks the owner of the hypertable
/// in them since 2.29.1; before, each login could drop the chunk of a day, or freeze that of today. Citus:
/// an empty array ends the server; the other one takes an object out of the metadata.
const OPEN: &str = "WITH engine AS ( \
        SELECT e.oid, e.extname, CASE e.extname \
            WHEN 'citus' THEN ARRAY['worker_split_copy', 'citus_unmark_object_distributed'] \
            ELSE ARRAY['drop_chunk', 'drop_osm_chunk', 'create_compressed_chunk', 'freeze_chunk', 'unfreeze_chunk', \
                'hypertable_osm_range_update', 'lock_osm_chunk_dimension_slice'] END AS names \
        FROM pg_extension e WHERE e.extname = 'citus' OR e.extname = 'timescaledb' \
            AND string_to_array(substring(e.extversion FROM '^[0-9]+(?:[.][0-9]+)*'), '.')::int[] < ARRAY[2, 29, 1]), \
    dashboards AS ( \
        SELECT m.oid FROM pg_roles m WHERE NOT m.rolsuper AND m.rolcanlogin AND m.oid NOT IN ( \
                SELECT relowner FROM pg_class WHERE oid = to_regclass('telemetry')) \
            AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'sluice_reader' AND pg_has_role(m.oid, r.oid, 'MEMBER'))) \
    SELECT p.oid::regprocedure::text FROM engine JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass \
            AND d.refobjid = engine.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e' \
        JOIN pg_proc p ON p.oid = d.objid JOIN pg_namespace n ON n.oid = p.pronamespace \
    WHERE p.proname = ANY (engine.names) AND n.nspname IN ('_timescaledb_functions', 'pg_catalog') \
        AND EXISTS (SELECT FROM dashboards WHERE has_function_privilege(dashboards.oid, p.oid, 'EXECUTE')) ORDER BY 1";

/// The statement that closes them to every login, for a superuser; `None` when no dashboard may call one.
pub(crate) async fn revocation(
    connection: &mut PgConnection,
) -> Result<Option<String>, sqlx::Error> {
    let open: Vec<String> = sqlx::query_scalar(OPEN).fetch_all(connection).await?;
    Ok((!open.is_empty())
        .then(|| format!("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC", open.join(", "))))
}
