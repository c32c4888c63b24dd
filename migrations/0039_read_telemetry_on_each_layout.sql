-- Telemetry may be a hypertable of Timescale. There, row-level security leaves two gaps: a table with a columnstore refuses it,
-- and a grant on a hypertable is copied to its chunks, which have no policy. So readers get each layout in its own way, and
-- everywhere the view telemetry_mine: the rows of the tenant that app.tenant_id names.

-- partitioned, hypertable or columnstore. The catalog of Timescale is named only where it is installed.
CREATE FUNCTION sluice_telemetry_layout() RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    has_columnstore boolean;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        RETURN 'partitioned';
    END IF;
    EXECUTE 'SELECT compression_enabled FROM timescaledb_information.hypertables
        WHERE to_regclass(format(''%I.%I'', hypertable_schema, hypertable_name)) = to_regclass(''telemetry'')'
        INTO has_columnstore;
    RETURN CASE has_columnstore WHEN true THEN 'columnstore' WHEN false THEN 'hypertable' ELSE 'partitioned' END;
END $$;

CREATE FUNCTION sluice_make_telemetry_mine() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    described record;
BEGIN
    CREATE OR REPLACE VIEW telemetry_mine WITH (security_barrier) AS
        SELECT time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link
        FROM telemetry WHERE tenant_id = nullif(current_setting('app.tenant_id', true), '');
    COMMENT ON VIEW telemetry_mine IS
        'The telemetry of the tenant that app.tenant_id names. Readers use it on each layout of telemetry.';
    FOR described IN
        SELECT v.attname, col_description('telemetry'::regclass, t.attnum) AS meaning
        FROM pg_attribute v JOIN pg_attribute t ON t.attrelid = 'telemetry'::regclass AND t.attname = v.attname
        WHERE v.attrelid = 'telemetry_mine'::regclass AND v.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN telemetry_mine.%I IS %L', described.attname, described.meaning);
    END LOOP;
END $$;

CREATE FUNCTION sluice_bind_telemetry() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    layout CONSTANT text := sluice_telemetry_layout();
    chunk text;
BEGIN
    PERFORM sluice_make_telemetry_mine();
    GRANT SELECT ON telemetry_mine TO sluice_reader;
    IF layout = 'columnstore' THEN
        REVOKE ALL ON telemetry FROM sluice_reader;
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
    GRANT SELECT (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link)
        ON telemetry TO sluice_reader;
    FOR chunk IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'telemetry'::regclass LOOP
        EXECUTE 'REVOKE ALL ON ' || chunk || ' FROM sluice_reader';
    END LOOP;
END $$;

-- The tables as before; telemetry by its layout.
CREATE OR REPLACE FUNCTION sluice_bind_reader_tables() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    bound record;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO sluice_reader', current_schema());
    PERFORM sluice_bind_telemetry();
    FOR bound IN
        SELECT * FROM (VALUES
            ('tenants', ''),
            ('devices', '(tenant_id, device_id, site_id, status, metadata, created_at, updated_at)'),
            ('device_certificates', ''),
            ('quarantine_events', '(id, quarantined_at, received_at, event_ts, topic, tenant_id, device_id, site_id, msg_type,
                reason, detail, payload, message_id, replayed_at)'),
            ('quarantine_counters_minute', ''),
            ('device_state', ''),
            ('device_commands', ''),
            ('device_pushes', ''),
            ('enrolment_codes', '(tenant_id, code_id, device_id, device_pattern, site_id, adds_devices, max_uses, uses,
                created_at, expires_at, revoked_at)'),
            ('enrolment_uses', ''),
            ('audit_log', '')
        ) AS tables (name, columns)
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', bound.name);
        EXECUTE format('DROP POLICY IF EXISTS sluice_reader_tenant ON %I', bound.name);
        EXECUTE format(
            'CREATE POLICY sluice_reader_tenant ON %I FOR SELECT TO sluice_reader
                USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))', bound.name);
        EXECUTE format('GRANT SELECT %s ON %I TO sluice_reader', bound.columns, bound.name);
    END LOOP;
END $$;

SELECT sluice_make_telemetry_mine();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') THEN
        PERFORM sluice_bind_telemetry();
    END IF;
END $$;
