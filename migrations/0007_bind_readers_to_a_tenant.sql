-- Dashboards read as a member of sluice_reader and see the one tenant named by app.tenant_id; unset, they see nothing.
-- The owner of the tables is not bound. Grants stand on partitioned tables only, never on a partition: a policy of the parent
-- does not hold for a query that names the partition. Hashes of tokens are granted to nobody.

-- A function, so that it can be called again where the role had to be made by hand.
CREATE FUNCTION sluice_bind_reader() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    bound record;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO sluice_reader', current_schema());
    FOR bound IN
        SELECT * FROM (VALUES
            ('tenants', ''),
            ('devices', '(tenant_id, device_id, site_id, status, metadata, created_at, updated_at)'),
            ('device_certificates', ''),
            ('telemetry', ''),
            ('quarantine_events', '(id, quarantined_at, received_at, event_ts, topic, tenant_id, device_id, site_id, msg_type,
                reason, detail, payload, message_id, replayed_at)'),
            ('quarantine_counters_minute', ''),
            ('device_state', ''),
            ('device_commands', ''),
            ('audit_log', '')
        ) AS tables (name, columns)
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', bound.name);
        EXECUTE format('DROP POLICY IF EXISTS sluice_reader_tenant ON %I', bound.name);
        -- A setting that was set once in a session reads '' afterwards, and '' is the counters' name for no tenant.
        EXECUTE format(
            'CREATE POLICY sluice_reader_tenant ON %I FOR SELECT TO sluice_reader
                USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))', bound.name);
        EXECUTE format('GRANT SELECT %s ON %I TO sluice_reader', bound.columns, bound.name);
    END LOOP;
END $$;

-- A role belongs to the whole cluster: another database may have made it, or be making it right now.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') THEN
        BEGIN
            CREATE ROLE sluice_reader NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE WARNING 'role sluice_reader is not there and % may not create it: dashboards cannot be bound to one tenant. '
                    'Let an administrator run "CREATE ROLE sluice_reader NOLOGIN", then run "SELECT sluice_bind_reader()" as %',
                    current_user, current_user;
        END;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') THEN
        PERFORM sluice_bind_reader();
    END IF;
END $$;
