-- no-transaction
-- The messages of one device are found by device, tenant and time, without the rows of devices with the same name in other tenants.
-- Each partition is built and committed for itself, so that writers wait for one build at most. What was done is skipped when it
-- is run again.
DO $$
DECLARE
    part record;
    child text;
BEGIN
    CREATE INDEX IF NOT EXISTS quarantine_events_of_device ON ONLY quarantine_events (device_id, tenant_id, quarantined_at, id);
    COMMIT;
    FOR part IN
        SELECT i.inhrelid, c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'quarantine_events'::regclass
    LOOP
        CONTINUE WHEN to_regclass(part.inhrelid::regclass::text) IS NULL OR EXISTS (
            SELECT FROM pg_index x JOIN pg_inherits h ON h.inhrelid = x.indexrelid
            WHERE x.indrelid = part.inhrelid AND h.inhparent = 'quarantine_events_of_device'::regclass);
        child := left(part.relname, 40) || '_of_device';
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (device_id, tenant_id, quarantined_at, id)', child, part.inhrelid::regclass);
        EXECUTE format('ALTER INDEX quarantine_events_of_device ATTACH PARTITION %I', child);
        COMMIT;
    END LOOP;
    DROP INDEX IF EXISTS quarantine_events_device;
END $$;
