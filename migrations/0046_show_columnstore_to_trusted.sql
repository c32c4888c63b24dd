-- A role with BYPASSRLS sees the rows of all tenants, such as the login of the dashboard on the tables. A table with a columnstore
-- has no row-level security to bypass, and readers lose its grant; so such a member of sluice_reader gets one of its own.
CREATE OR REPLACE FUNCTION sluice_bind_telemetry() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    layout CONSTANT text := sluice_telemetry_layout();
    chunk text;
    trusted name;
    former name;
BEGIN
    PERFORM sluice_make_telemetry_mine();
    GRANT SELECT ON telemetry_mine TO sluice_reader;
    IF layout = 'columnstore' THEN
        REVOKE ALL ON telemetry FROM sluice_reader;
        -- One that is no longer trusted.
        FOR former IN SELECT r.rolname FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
            WHERE c.oid = 'telemetry'::regclass AND a.grantee <> c.relowner AND NOT r.rolsuper AND NOT r.rolbypassrls
                AND pg_has_role(r.oid, 'sluice_reader', 'MEMBER')
        LOOP
            EXECUTE format('REVOKE ALL ON telemetry FROM %I', former);
        END LOOP;
        FOR trusted IN SELECT rolname FROM pg_roles WHERE rolbypassrls AND NOT rolsuper AND pg_has_role(oid, 'sluice_reader', 'MEMBER')
        LOOP
            EXECUTE format('GRANT SELECT ON telemetry TO %I', trusted);
        END LOOP;
        RETURN;
    END IF;
    ALTER TABLE telemetry ENABLE ROW LEVEL SECURITY;
    DROP POLICY IF EXISTS sluice_reader_tenant ON telemetry;
    CREATE POLICY sluice_reader_tenant ON telemetry FOR SELECT TO sluice_reader
        USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
    IF layout = 'partitioned' THEN
        GRANT SELECT ON telemetry TO sluice_reader;
        RETURN;
    END IF;
    -- A new chunk gets the grants of the hypertable, and not those of its columns. Existing chunks get both.
    REVOKE ALL ON telemetry FROM sluice_reader;
    GRANT SELECT (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link,
        certificate_id) ON telemetry TO sluice_reader;
    FOR chunk IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'telemetry'::regclass LOOP
        EXECUTE 'REVOKE ALL ON ' || chunk || ' FROM sluice_reader';
    END LOOP;
END $$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') AND sluice_telemetry_layout() = 'columnstore' THEN
        PERFORM sluice_bind_telemetry();
    END IF;
END $$;
