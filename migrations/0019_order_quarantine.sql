-- no-transaction
-- The list of refused messages is read a page at a time, the newest first: by time alone, of one device, of one reason, or of
-- those that were replayed. (Of one tenant there is an index already.) Each partition is built and committed for itself, so
-- that writers wait for one build at most. What was done is skipped when it is run again.
DO $$
DECLARE
    index record;
    part record;
    child text;
BEGIN
    FOR index IN SELECT * FROM (VALUES
        ('quarantine_events_time', '(quarantined_at, id)'),
        ('quarantine_events_device', '(device_id, quarantined_at, id)'),
        ('quarantine_events_of_reason', '(reason, quarantined_at, id)'),
        ('quarantine_events_replayed', '(quarantined_at, id) WHERE replayed_at IS NOT NULL')
    ) AS wanted (name, columns)
    LOOP
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON ONLY quarantine_events %s', index.name, index.columns);
        COMMIT;
        FOR part IN
            SELECT i.inhrelid, c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'quarantine_events'::regclass
        LOOP
            CONTINUE WHEN to_regclass(part.inhrelid::regclass::text) IS NULL OR EXISTS (
                SELECT FROM pg_index x JOIN pg_inherits h ON h.inhrelid = x.indexrelid
                WHERE x.indrelid = part.inhrelid AND h.inhparent = index.name::regclass);
            child := left(part.relname, 40) || substr(index.name, 18);
            EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s %s', child, part.inhrelid::regclass, index.columns);
            EXECUTE format('ALTER INDEX %I ATTACH PARTITION %I', index.name, child);
            COMMIT;
        END LOOP;
    END LOOP;
END $$;
