-- From Postgres 16 on, replication applies each row as the owner of its table, and takes back every setting after it. So a count in a
-- setting began again with each row, and a mass change was one notification a row in a subscriber. There a sequence keeps the count:
-- it belongs to no transaction, and its value names the one that it counts. Each table has its own, because their first copies run
-- side by side.

CREATE SEQUENCE replicated_rows_of_devices;
CREATE SEQUENCE replicated_rows_of_device_certificates;
CREATE SEQUENCE replicated_rows_of_tenants;

COMMENT ON SEQUENCE replicated_rows_of_devices IS 'In a cell: 128 times the last transaction of replication, plus its rows up to 100.';
COMMENT ON SEQUENCE replicated_rows_of_device_certificates IS
    'In a cell: 128 times the last transaction of replication, plus its rows up to 100.';
COMMENT ON SEQUENCE replicated_rows_of_tenants IS 'In a cell: 128 times the last transaction of replication, plus its rows up to 100.';

-- The rows of the table of "counter" that this transaction of replication has changed before, up to 100. A worker of replication has an empty
-- search_path.
CREATE FUNCTION sluice_count_replicated(counter regclass) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    own bigint := pg_current_xact_id()::text::bigint * 128;
    rows_before bigint := pg_sequence_last_value(counter) - own;
BEGIN
    IF rows_before IS NULL OR rows_before NOT BETWEEN 1 AND 100 THEN
        rows_before := 0;
    END IF;
    IF rows_before < 100 THEN
        PERFORM setval(counter, own + rows_before + 1);
    END IF;
    RETURN rows_before;
END $$;

-- The functions of the row triggers. Past 100 rows of a transaction they name the tenants.
CREATE OR REPLACE FUNCTION sluice_notify_device() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    rows_before int;
    what text := '/*';
BEGIN
    IF current_setting('session_replication_role') = 'replica' THEN
        EXECUTE format('SELECT %I.sluice_count_replicated(%L)', TG_TABLE_SCHEMA,
            format('%I.%I', TG_TABLE_SCHEMA, 'replicated_rows_of_' || TG_TABLE_NAME)) INTO rows_before;
    ELSE
        rows_before := coalesce(nullif(current_setting('sluice.notified_rows', true), ''), '0');
        PERFORM set_config('sluice.notified_rows', (rows_before + 1)::text, true);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        IF rows_before < 100 THEN
            what := '/device/' || OLD.device_id;
        END IF;
        PERFORM pg_notify('sluice_invalidate', OLD.tenant_id || what);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        IF rows_before < 100 THEN
            what := '/device/' || NEW.device_id;
        END IF;
        PERFORM pg_notify('sluice_invalidate', NEW.tenant_id || what);
    END IF;
    RETURN NULL;
END $$;

-- Past 100 rows of a transaction it says '*'.
CREATE OR REPLACE FUNCTION sluice_notify_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    rows_before int;
BEGIN
    IF current_setting('session_replication_role') = 'replica' THEN
        EXECUTE format('SELECT %I.sluice_count_replicated(%L)', TG_TABLE_SCHEMA,
            format('%I.%I', TG_TABLE_SCHEMA, 'replicated_rows_of_' || TG_TABLE_NAME)) INTO rows_before;
    ELSE
        rows_before := coalesce(nullif(current_setting('sluice.notified_rows', true), ''), '0');
        PERFORM set_config('sluice.notified_rows', (rows_before + 1)::text, true);
    END IF;
    IF rows_before >= 100 THEN
        PERFORM pg_notify('sluice_invalidate', '*');
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('sluice_invalidate', OLD.tenant_id || '/*');
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('sluice_invalidate', NEW.tenant_id || '/*');
    END IF;
    RETURN NULL;
END $$;

-- The triggers above fire in each subscriber. Those of a cell did the same again.
CREATE OR REPLACE FUNCTION sluice_notify_in_cell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN NULL;
END $$;
