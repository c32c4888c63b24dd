//! Roles that may read telemetry where no row-level security holds: its partitions or chunks, and the
//! table itself with a columnstore.
//!
//! A grant on a hypertable is copied to its chunks, which have no policy; so such a grant counts too. It
//! changes nothing.

use sqlx::{FromRow, PgPool};

use crate::domain::finding::Finding;
use crate::domain::ports::Outage;
use crate::store::connection::engine::TelemetryLayout;
use crate::store::connection::writer_connection::answer;

/// `whole`: the table has policies, and its chunks get only the grants on all columns. The owner and a
/// role with BYPASSRLS read anyway. What `sluice_reader` itself may read is another finding.
const OPEN_TO: &str = "WITH open AS ( \
        SELECT c.oid, c.relacl, c.relowner, c.relrowsecurity AS whole FROM pg_class c \
        WHERE c.oid = to_regclass('telemetry') AND ($1 OR NOT c.relrowsecurity) \
        UNION ALL SELECT c.oid, c.relacl, c.relowner, false FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid \
        WHERE i.inhparent = to_regclass('telemetry') AND NOT c.relrowsecurity), \
    dashboards AS ( \
        SELECT m.rolname::text AS name FROM pg_roles m WHERE NOT m.rolsuper AND NOT m.rolbypassrls \
            AND m.rolname <> 'sluice_reader' AND pg_has_role(m.oid, 'sluice_reader', 'MEMBER') AND EXISTS ( \
                SELECT FROM open o WHERE NOT pg_has_role(m.oid, o.relowner, 'MEMBER') AND CASE WHEN o.whole \
                    THEN has_table_privilege(m.oid, o.oid, 'SELECT') AND NOT has_table_privilege('sluice_reader', o.oid, 'SELECT') \
                    ELSE has_any_column_privilege(m.oid, o.oid, 'SELECT') \
                        AND NOT has_any_column_privilege('sluice_reader', o.oid, 'SELECT') END)), \
    granted AS ( \
        SELECT o.relowner, e.grantee FROM open o, aclexplode(o.relacl) e WHERE e.privilege_type = 'SELECT' \
        UNION SELECT o.relowner, e.grantee FROM open o JOIN pg_attribute a ON a.attrelid = o.oid AND NOT o.whole, \
            aclexplode(a.attacl) e WHERE e.privilege_type = 'SELECT') \
    SELECT name, true AS is_dashboard FROM dashboards \
    UNION SELECT coalesce(r.rolname::text, 'PUBLIC'), coalesce(pg_has_role(r.oid, 'sluice_reader', 'MEMBER'), false) \
        FROM granted g LEFT JOIN pg_roles r ON r.oid = g.grantee \
        WHERE g.grantee <> g.relowner AND r.rolname IS DISTINCT FROM 'sluice_reader' AND r.rolsuper IS NOT TRUE \
            AND r.rolbypassrls IS NOT TRUE \
    ORDER BY 1 LIMIT 100";

/// A role that reads the rows of all tenants.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct OpenReader {
    /// Its name; `PUBLIC` is everybody.
    pub name: String,
    /// Whether it is a member of `sluice_reader`, and so meant to see one tenant.
    pub is_dashboard: bool,
}

/// Reads them.
pub async fn read(pool: &PgPool, layout: TelemetryLayout) -> Result<Vec<OpenReader>, Outage> {
    let copies_grants =
        matches!(layout, TelemetryLayout::Hypertable | TelemetryLayout::Columnstore);
    Ok(answer(sqlx::query_as(OPEN_TO).bind(copies_grants).fetch_all(pool)).await?)
}

/// What `doctor` says of them.
pub fn findings(readers: &[OpenReader]) -> Vec<Finding> {
    let named = |is_dashboard: bool| {
        let names = readers.iter().filter(|reader| reader.is_dashboard == is_dashboard);
        names.map(|reader| reader.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (dashboards, others) = (named(true), named(false));
    let advice = |names: &str| {
        format!(
            "REVOKE SELECT ON telemetry FROM {names}, and on its partitions or chunks; members of sluice_reader need no \
             other grant"
        )
    };
    let mut findings = Vec::new();
    if !dashboards.is_empty() {
        findings.push(Finding::error(
            format!(
                "these members of sluice_reader may read telemetry without row-level security, and see the rows of all \
                 tenants: {dashboards}"
            ),
            advice(&dashboards),
        ));
    }
    if !others.is_empty() {
        findings.push(Finding::warning(
            format!(
                "these roles may read telemetry without row-level security, and see the rows of all tenants: {others}"
            ),
            advice(&others),
        ));
    }
    findings
}
