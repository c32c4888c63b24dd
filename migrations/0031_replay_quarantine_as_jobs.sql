-- no-transaction
-- Replays of the quarantine as jobs: a dry run of a filter with an upper time, and the replay of exactly that filter. Two
-- indexes find what was not replayed yet; each partition is built and committed for itself, as in 0019. What was done is
-- skipped when it is run again. All of it is one statement, because only then can it commit.
DO $$
DECLARE
    index record;
    part record;
    child text;
BEGIN
    -- An empty tenant_id is a job over all tenants. Of one tenant at most one job runs.
    CREATE TABLE IF NOT EXISTS quarantine_replays (
        tenant_id   text NOT NULL,
        replay_id   uuid NOT NULL,
        stage       text NOT NULL DEFAULT 'DRY_RUN' CHECK (stage IN ('DRY_RUN', 'REPLAY')),
        status      text NOT NULL DEFAULT 'RUNNING' CHECK (status IN ('RUNNING', 'STOPPED', 'DONE')),
        selection   jsonb NOT NULL,
        search      text NOT NULL DEFAULT '',
        until_at    timestamptz NOT NULL,
        created_at  timestamptz NOT NULL DEFAULT now(),
        created_by  text NOT NULL,
        started_at  timestamptz,
        started_by  text,
        ended_at    timestamptz,
        total       bigint CHECK (total >= 0),
        done        bigint NOT NULL DEFAULT 0 CHECK (done >= 0),
        results     jsonb NOT NULL DEFAULT '[]',
        after_at    timestamptz,
        after_id    uuid,
        dry_total   bigint,
        dry_done    bigint,
        dry_results jsonb,
        worker      uuid,
        lease_until timestamptz,
        moved_at    timestamptz NOT NULL DEFAULT now(),
        trouble     text,
        PRIMARY KEY (tenant_id, replay_id)
    ) WITH (fillfactor = 70);
    CREATE UNIQUE INDEX IF NOT EXISTS quarantine_replays_running ON quarantine_replays (tenant_id) WHERE status = 'RUNNING';
    CREATE INDEX IF NOT EXISTS quarantine_replays_time ON quarantine_replays (created_at, replay_id);
    ALTER TABLE quarantine_replays ENABLE ROW LEVEL SECURITY;

    -- The counters by hour, for long periods: kept by triggers, so that also a daemon of the previous release keeps them exact.
    -- Writers wait while the hours so far are summed: about a second for a million minutes.
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'quarantine_counters_added') THEN
        CREATE TABLE IF NOT EXISTS quarantine_counters_hour (
            bucket_hour timestamptz NOT NULL,
            tenant_id   text NOT NULL,
            reason      text NOT NULL,
            cnt         bigint NOT NULL,
            PRIMARY KEY (bucket_hour, tenant_id, reason)
        ) WITH (fillfactor = 70);
        ALTER TABLE quarantine_counters_hour ENABLE ROW LEVEL SECURITY;
        CREATE OR REPLACE FUNCTION sluice_count_hours() RETURNS trigger LANGUAGE plpgsql AS $trigger$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                INSERT INTO quarantine_counters_hour AS h (bucket_hour, tenant_id, reason, cnt)
                SELECT date_bin('1 hour', bucket_minute, 'epoch'), tenant_id, reason, sum(cnt)::bigint
                FROM added GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
                ON CONFLICT (bucket_hour, tenant_id, reason) DO UPDATE SET cnt = h.cnt + excluded.cnt;
            ELSE
                INSERT INTO quarantine_counters_hour AS h (bucket_hour, tenant_id, reason, cnt)
                SELECT date_bin('1 hour', bucket_minute, 'epoch'), tenant_id, reason, sum(added.cnt - former.cnt)::bigint
                FROM added JOIN former USING (bucket_minute, tenant_id, reason) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
                ON CONFLICT (bucket_hour, tenant_id, reason) DO UPDATE SET cnt = h.cnt + excluded.cnt;
            END IF;
            RETURN NULL;
        END $trigger$;
        CREATE TRIGGER quarantine_counters_added AFTER INSERT ON quarantine_counters_minute
            REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION sluice_count_hours();
        CREATE TRIGGER quarantine_counters_changed AFTER UPDATE ON quarantine_counters_minute
            REFERENCING OLD TABLE AS former NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION sluice_count_hours();
        INSERT INTO quarantine_counters_hour
            SELECT date_bin('1 hour', bucket_minute, 'epoch'), tenant_id, reason, sum(cnt)::bigint
            FROM quarantine_counters_minute GROUP BY 1, 2, 3;
        COMMENT ON TABLE quarantine_counters_hour IS
            'The sums of quarantine_counters_minute by hour, kept by triggers. Deleted after QUARANTINE_RETENTION_DAYS.';
        COMMENT ON COLUMN quarantine_counters_hour.bucket_hour IS 'Start of the hour.';
        COMMENT ON COLUMN quarantine_counters_hour.tenant_id IS 'Tenant in the topic; empty where the topic names none.';
        COMMENT ON COLUMN quarantine_counters_hour.reason IS 'Why the messages were refused.';
        COMMENT ON COLUMN quarantine_counters_hour.cnt IS 'Number of refused messages.';
    END IF;

    ALTER TABLE quarantine_events ADD COLUMN IF NOT EXISTS replay_attempts integer NOT NULL DEFAULT 0;

    COMMENT ON TABLE quarantine_replays IS 'Jobs that check refused messages again: a dry run, and the replay of what it checked.';
    COMMENT ON COLUMN quarantine_replays.tenant_id IS 'Tenant of the messages. Empty: all tenants.';
    COMMENT ON COLUMN quarantine_replays.replay_id IS 'Identifier of the job in commands and in the API.';
    COMMENT ON COLUMN quarantine_replays.stage IS 'What the job does: DRY_RUN or REPLAY.';
    COMMENT ON COLUMN quarantine_replays.status IS 'RUNNING, STOPPED or DONE.';
    COMMENT ON COLUMN quarantine_replays.selection IS 'Which messages, as Sluice reads it.';
    COMMENT ON COLUMN quarantine_replays.search IS 'Which messages, as a search for people.';
    COMMENT ON COLUMN quarantine_replays.until_at IS 'Messages that were quarantined at this time or later do not belong to the job.';
    COMMENT ON COLUMN quarantine_replays.created_at IS 'When the dry run was ordered.';
    COMMENT ON COLUMN quarantine_replays.created_by IS 'Who ordered the dry run.';
    COMMENT ON COLUMN quarantine_replays.started_at IS 'When the replay was ordered. Null: not yet.';
    COMMENT ON COLUMN quarantine_replays.started_by IS 'Who ordered the replay. Null: not ordered yet.';
    COMMENT ON COLUMN quarantine_replays.ended_at IS 'When the stage ended. Null: not yet.';
    COMMENT ON COLUMN quarantine_replays.total IS 'Messages of the stage when it began. Null: not counted yet.';
    COMMENT ON COLUMN quarantine_replays.done IS 'Messages of the stage that were checked.';
    COMMENT ON COLUMN quarantine_replays.results IS 'Results of the stage with their counts.';
    COMMENT ON COLUMN quarantine_replays.after_at IS 'quarantined_at of the last message that was checked. Null: none yet.';
    COMMENT ON COLUMN quarantine_replays.after_id IS 'id of the last message that was checked. Null: none yet.';
    COMMENT ON COLUMN quarantine_replays.dry_total IS 'Total of the dry run, once the replay was ordered.';
    COMMENT ON COLUMN quarantine_replays.dry_done IS 'Messages that the dry run checked, once the replay was ordered.';
    COMMENT ON COLUMN quarantine_replays.dry_results IS 'Results of the dry run, once the replay was ordered.';
    COMMENT ON COLUMN quarantine_replays.worker IS 'The daemon that works on the job. Null: none.';
    COMMENT ON COLUMN quarantine_replays.lease_until IS 'From this time on another daemon may continue the job. Null: at once.';
    COMMENT ON COLUMN quarantine_replays.moved_at IS 'When the job last made progress.';
    COMMENT ON COLUMN quarantine_replays.trouble IS 'Why the last step failed. Null: it did not fail.';
    COMMENT ON COLUMN quarantine_events.replay_attempts IS 'How many replays refused the message again.';
    COMMIT;

    FOR index IN SELECT * FROM (VALUES
        ('quarantine_events_open', '(quarantined_at, id) WHERE replayed_at IS NULL'),
        ('quarantine_events_open_of_tenant', '(tenant_id, quarantined_at, id) WHERE replayed_at IS NULL')
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
