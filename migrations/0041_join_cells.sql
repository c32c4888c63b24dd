-- A cell is a Mosquitto, a Sluice and a Postgres of its own. One database is the registry of all cells: tenants, devices,
-- device_certificates, revoked_certificates and cells come from it by logical replication, and a cell does not change them.
-- `sluice cell join` creates the triggers that use the functions below; elsewhere no trigger costs anything.

-- In a cell: the registry it belongs to. One row; after the cell has left, left_at is set.
CREATE TABLE cell (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    cell_id      text NOT NULL CHECK (cell_id ~ '^[a-z0-9_]{1,40}$'),
    registry     text NOT NULL,
    registry_id  text NOT NULL,
    subscription text NOT NULL,
    joined_at    timestamptz NOT NULL DEFAULT now(),
    left_at      timestamptz
);

-- At the registry: its cells. Replicated, so that each cell sees its own sign of life come back.
CREATE TABLE cells (
    cell_id   text PRIMARY KEY CHECK (cell_id ~ '^[a-z0-9_]{1,40}$'),
    slot      text NOT NULL,
    joined_at timestamptz NOT NULL DEFAULT now(),
    seen_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- In a cell, a hand or a program that writes to the registry is refused. Replication is not: the trigger does not fire for it.
CREATE FUNCTION sluice_refuse_in_cell() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    known record;
BEGIN
    -- A migration changes the copy as it changes the registry.
    IF coalesce(current_setting('sluice.writer', true), '') <> 'migration' THEN
        EXECUTE format('SELECT cell_id, registry FROM %I.cell', TG_TABLE_SCHEMA) INTO known;
        RAISE EXCEPTION 'the registry is read-only in cell %: change it at the registry, %', known.cell_id, known.registry
            USING ERRCODE = 'SLC01';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;

-- TRUNCATE is not replicated: the cells would keep the rows. In a cell it would empty the copy.
CREATE FUNCTION sluice_refuse_truncate_with_cells() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    has_cells boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %I.cells)', TG_TABLE_SCHEMA) INTO has_cells;
    IF has_cells THEN
        RAISE EXCEPTION 'table % is replicated to cells, and TRUNCATE is not: use DELETE at the registry', TG_TABLE_NAME
            USING ERRCODE = 'SLC01';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER cells_keep_truncated BEFORE TRUNCATE ON tenants
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_refuse_truncate_with_cells();
CREATE TRIGGER cells_keep_truncated BEFORE TRUNCATE ON devices
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_refuse_truncate_with_cells();
CREATE TRIGGER cells_keep_truncated BEFORE TRUNCATE ON device_certificates
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_refuse_truncate_with_cells();
CREATE TRIGGER cells_keep_truncated BEFORE TRUNCATE ON revoked_certificates
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_refuse_truncate_with_cells();

-- Replication fires triggers of rows, and none of statements. After 100 rows of one transaction a tenant is named as a whole, so
-- that a mass change is a few notifications. A worker of replication has an empty search_path.
CREATE FUNCTION sluice_notify_in_cell() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told integer := coalesce(nullif(current_setting('sluice.told', true), ''), '0')::integer;
    is_whole boolean := TG_TABLE_NAME = 'tenants' OR told >= 100;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        IF is_whole THEN
            PERFORM pg_notify('sluice_invalidate', OLD.tenant_id || '/*');
        ELSE
            PERFORM pg_notify('sluice_invalidate', OLD.tenant_id || '/device/' || OLD.device_id);
        END IF;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        IF is_whole THEN
            PERFORM pg_notify('sluice_invalidate', NEW.tenant_id || '/*');
        ELSE
            PERFORM pg_notify('sluice_invalidate', NEW.tenant_id || '/device/' || NEW.device_id);
        END IF;
    END IF;
    IF told < 100 THEN
        PERFORM set_config('sluice.told', (told + 1)::text, true);
    END IF;
    RETURN NULL;
END $$;

-- The steps of a revocation are those of the cell's own broker: they begin when the revocation arrives.
CREATE FUNCTION sluice_note_revocation_in_cell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.certificate_revocations (certificate_id) VALUES ($1) ON CONFLICT DO NOTHING', TG_TABLE_SCHEMA)
        USING NEW.certificate_id;
    IF TG_OP = 'UPDATE' THEN
        EXECUTE format('UPDATE %I.certificate_revocations SET crl_number = NULL WHERE certificate_id = $1 AND $2 <> $3',
            TG_TABLE_SCHEMA) USING NEW.certificate_id, OLD.serial_number, NEW.serial_number;
    END IF;
    RETURN NULL;
END $$;

-- What a cell keeps about a tenant or a device goes with it. Replication fires no foreign key.
CREATE FUNCTION sluice_forget_in_cell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'tenants' THEN
        EXECUTE format('DELETE FROM %I.console_login_codes WHERE tenant_id = $1', TG_TABLE_SCHEMA) USING OLD.tenant_id;
        EXECUTE format('DELETE FROM %1$I.console_sessions WHERE tenant_id = $1
            OR operator IN (SELECT name FROM %1$I.operators WHERE tenant_id = $1)', TG_TABLE_SCHEMA) USING OLD.tenant_id;
        EXECUTE format('DELETE FROM %I.operators WHERE tenant_id = $1', TG_TABLE_SCHEMA) USING OLD.tenant_id;
        RETURN NULL;
    END IF;
    EXECUTE format('DELETE FROM %I.device_state WHERE tenant_id = $1 AND device_id = $2 AND desired_version IS NULL',
        TG_TABLE_SCHEMA) USING OLD.tenant_id, OLD.device_id;
    EXECUTE format('UPDATE %I.device_state SET last_seen_at = NULL, last_telemetry_at = NULL, desired = NULL, desired_at = NULL,
        reported = NULL, reported_version = NULL, reported_at = NULL WHERE tenant_id = $1 AND device_id = $2',
        TG_TABLE_SCHEMA) USING OLD.tenant_id, OLD.device_id;
    EXECUTE format('DELETE FROM %I.device_commands WHERE tenant_id = $1 AND device_id = $2', TG_TABLE_SCHEMA)
        USING OLD.tenant_id, OLD.device_id;
    RETURN NULL;
END $$;

COMMENT ON TABLE cell IS 'In a cell, the registry that it belongs to. At most one row.';
COMMENT ON COLUMN cell.single IS 'Always true: the table has at most one row.';
COMMENT ON COLUMN cell.cell_id IS 'Name of this cell.';
COMMENT ON COLUMN cell.registry IS 'Host, port and database of the registry, without a password.';
COMMENT ON COLUMN cell.registry_id IS 'Which database the registry is: the identifier of its server, and its name.';
COMMENT ON COLUMN cell.subscription IS 'Name of the subscription here, and of its slot at the registry.';
COMMENT ON COLUMN cell.joined_at IS 'When the cell joined the registry.';
COMMENT ON COLUMN cell.left_at IS 'When the cell left the registry. Null: it is a cell.';
COMMENT ON TABLE cells IS 'The cells of this registry. In a cell, a copy of them.';
COMMENT ON COLUMN cells.cell_id IS 'Name of the cell.';
COMMENT ON COLUMN cells.slot IS 'Replication slot of the cell at the registry.';
COMMENT ON COLUMN cells.joined_at IS 'When the cell joined.';
COMMENT ON COLUMN cells.seen_at IS 'When a Sluice of the cell last wrote here, by the clock of the registry.';
