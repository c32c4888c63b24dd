-- What Sluice publishes to devices. Two kinds: commands are a log, each of which must arrive; desired documents and notices
-- are states, of which only the latest counts. Plain SQL may write both; the publisher finds the rows by their status.

ALTER TABLE device_state ADD COLUMN desired_at timestamptz;

-- Sluice reads no time that is infinite or after the year 9999. Such a row expires.
UPDATE device_commands SET created_at = least(greatest(created_at, to_timestamp(0)), to_timestamp(253402300799)),
    expires_at = CASE WHEN expires_at IS NOT NULL THEN least(greatest(expires_at, to_timestamp(0)), to_timestamp(253402300799)) END,
    published_at = CASE WHEN isfinite(published_at) THEN least(published_at, now()) END,
    acked_at = CASE WHEN isfinite(acked_at) THEN least(acked_at, now()) END
WHERE greatest(created_at, expires_at, published_at, acked_at) >= to_timestamp(253402300800)
    OR least(created_at, expires_at, published_at, acked_at) = '-infinity';

-- The position orders commands of one transaction, which share created_at.
ALTER TABLE device_commands
    ADD COLUMN position bigint GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN batch_id uuid,
    ADD COLUMN finished_at timestamptz,
    ADD CONSTRAINT device_commands_times CHECK (
        greatest(created_at, expires_at, published_at, acked_at, finished_at) < to_timestamp(253402300800)
        AND least(created_at, expires_at, published_at, acked_at, finished_at) > '-infinity'),
    DROP CONSTRAINT device_commands_status_check,
    ADD CONSTRAINT device_commands_status_check CHECK (status IN (
        'PENDING', 'PUBLISHED', 'IN_PROGRESS', 'ACKNOWLEDGED', 'REJECTED', 'FAILED', 'EXPIRED', 'CANCELLED'));

DROP INDEX device_commands_open;
CREATE INDEX device_commands_open ON device_commands (tenant_id, device_id, created_at, position)
    WHERE status IN ('PENDING', 'PUBLISHED', 'IN_PROGRESS');
CREATE INDEX device_commands_pending ON device_commands (created_at, position) WHERE status = 'PENDING';
CREATE INDEX device_commands_unanswered ON device_commands ((coalesce(published_at, created_at)), position)
    WHERE status = 'PUBLISHED';
CREATE INDEX device_commands_batch ON device_commands (batch_id) WHERE batch_id IS NOT NULL;

CREATE TABLE device_pushes (
    tenant_id         text NOT NULL,
    device_id         text NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('desired', 'certificate')),
    revision          bigint NOT NULL DEFAULT 1,
    payload           jsonb,
    expires_at        timestamptz,
    dirty_since       timestamptz DEFAULT now(),
    published_at      timestamptz,
    PRIMARY KEY (tenant_id, device_id, kind),
    CONSTRAINT device_pushes_times CHECK (greatest(dirty_since, published_at) < to_timestamp(253402300800)
        AND least(dirty_since, published_at) > '-infinity')
) WITH (fillfactor = 70);
CREATE INDEX device_pushes_dirty ON device_pushes (dirty_since) WHERE dirty_since IS NOT NULL;

-- The documents that were desired before there was a publisher.
UPDATE device_state SET desired_version = coalesce(desired_version, 1), desired_at = now() WHERE desired IS NOT NULL;
INSERT INTO device_pushes (tenant_id, device_id, kind, payload)
SELECT tenant_id, device_id, 'desired', jsonb_build_object('version', desired_version, 'desired', desired, 'ts', desired_at)
FROM device_state JOIN devices USING (tenant_id, device_id) WHERE desired IS NOT NULL;

-- Sluice retains the marker at the broker. A broker without it has lost what it retained.
CREATE TABLE outbox_marker (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    marker uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO outbox_marker DEFAULT VALUES;

-- Wakes the publisher of every replica. Equal notifications of one transaction are delivered once.
CREATE FUNCTION sluice_notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sluice_outbox', '');
    RETURN NULL;
END $$;

CREATE TRIGGER device_commands_notify AFTER INSERT ON device_commands
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_outbox();
-- The end of a command lets the next one of its device be published.
CREATE TRIGGER device_commands_notify_end AFTER UPDATE OF status ON device_commands
    FOR EACH ROW
    WHEN (OLD.status IN ('PUBLISHED', 'IN_PROGRESS') AND NEW.status NOT IN ('PENDING', 'PUBLISHED', 'IN_PROGRESS'))
    EXECUTE FUNCTION sluice_notify_outbox();

-- A desired document that plain SQL writes without a version gets the next one.
CREATE FUNCTION sluice_version_desired() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.desired_version := coalesce(NEW.desired_version, 1);
    ELSIF NEW.desired_version IS NULL OR NEW.desired_version <= coalesce(OLD.desired_version, 0) THEN
        NEW.desired_version := coalesce(OLD.desired_version, 0) + 1;
    END IF;
    NEW.desired_at := now();
    RETURN NEW;
END $$;

CREATE TRIGGER device_state_version_inserted BEFORE INSERT ON device_state
    FOR EACH ROW WHEN (NEW.desired IS NOT NULL) EXECUTE FUNCTION sluice_version_desired();
CREATE TRIGGER device_state_version_desired BEFORE UPDATE OF desired ON device_state
    FOR EACH ROW WHEN (NEW.desired IS DISTINCT FROM OLD.desired) EXECUTE FUNCTION sluice_version_desired();

CREATE FUNCTION sluice_push_desired() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO device_pushes AS p (tenant_id, device_id, kind, payload)
    VALUES (NEW.tenant_id, NEW.device_id, 'desired', CASE WHEN NEW.desired IS NULL THEN NULL ELSE
        jsonb_build_object('version', NEW.desired_version, 'desired', NEW.desired, 'ts', NEW.desired_at) END)
    ON CONFLICT (tenant_id, device_id, kind) DO UPDATE
        SET payload = excluded.payload, revision = p.revision + 1, dirty_since = coalesce(p.dirty_since, now());
    PERFORM pg_notify('sluice_outbox', '');
    RETURN NULL;
END $$;

CREATE TRIGGER device_state_push_inserted AFTER INSERT ON device_state
    FOR EACH ROW WHEN (NEW.desired IS NOT NULL) EXECUTE FUNCTION sluice_push_desired();
CREATE TRIGGER device_state_push_desired AFTER UPDATE OF desired ON device_state
    FOR EACH ROW WHEN (NEW.desired IS DISTINCT FROM OLD.desired) EXECUTE FUNCTION sluice_push_desired();

-- A device that is removed and added again must not receive what was meant for its predecessor.
CREATE FUNCTION sluice_withdraw_from_device() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE device_state SET desired = NULL
        WHERE tenant_id = OLD.tenant_id AND device_id = OLD.device_id AND desired IS NOT NULL;
    UPDATE device_pushes SET payload = NULL, revision = revision + 1, dirty_since = coalesce(dirty_since, now())
        WHERE tenant_id = OLD.tenant_id AND device_id = OLD.device_id AND payload IS NOT NULL;
    UPDATE device_commands SET status = 'CANCELLED', finished_at = now()
        WHERE tenant_id = OLD.tenant_id AND device_id = OLD.device_id
        AND status IN ('PENDING', 'PUBLISHED', 'IN_PROGRESS');
    PERFORM pg_notify('sluice_outbox', '');
    RETURN NULL;
END $$;

CREATE TRIGGER devices_withdraw_pushes AFTER DELETE ON devices
    FOR EACH ROW EXECUTE FUNCTION sluice_withdraw_from_device();

ALTER TABLE device_pushes ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox_marker ENABLE ROW LEVEL SECURITY;

CREATE OR REPLACE FUNCTION sluice_bind_reader() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
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
            ('device_pushes', ''),
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

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') THEN
        PERFORM sluice_bind_reader();
    END IF;
END $$;

COMMENT ON COLUMN device_state.desired_at IS 'When the desired state was changed last.';
COMMENT ON COLUMN device_commands.position IS 'Order of commands that have the same created_at.';
COMMENT ON COLUMN device_commands.status IS
    'PENDING, PUBLISHED and IN_PROGRESS are open; ACKNOWLEDGED, REJECTED, FAILED, EXPIRED and CANCELLED are final.';
COMMENT ON COLUMN device_commands.attempts IS 'How often the command was published.';
COMMENT ON COLUMN device_commands.batch_id IS 'Commands that one request queued for several devices share it. Null: queued alone.';
COMMENT ON COLUMN device_commands.finished_at IS 'When the status became final. Null: open.';
COMMENT ON COLUMN device_commands.expires_at IS 'When the command expires. Null: COMMAND_TTL_SECONDS after created_at.';
COMMENT ON TABLE device_pushes IS
    'What the broker retains for each device: the desired document, and the notice of a certificate that ends.';
COMMENT ON COLUMN device_pushes.tenant_id IS 'Tenant of the device.';
COMMENT ON COLUMN device_pushes.device_id IS 'The device.';
COMMENT ON COLUMN device_pushes.kind IS
    'desired: published to shadow/desired. certificate: published to notices/certificate.';
COMMENT ON COLUMN device_pushes.revision IS 'Number of the change; a publication of an older one does not count.';
COMMENT ON COLUMN device_pushes.payload IS 'The document. Null: the retained message is removed.';
COMMENT ON COLUMN device_pushes.expires_at IS 'When the broker may drop the message. Null: never.';
COMMENT ON COLUMN device_pushes.dirty_since IS 'Since when the broker has an older state. Null: the broker is current.';
COMMENT ON COLUMN device_pushes.published_at IS 'When the broker accepted the message last. Null: not yet.';
COMMENT ON TABLE outbox_marker IS
    'One row: what the broker retains on sluice/outbox while it has the retained messages of this database.';
COMMENT ON COLUMN outbox_marker.single IS 'Always true: the table has one row.';
COMMENT ON COLUMN outbox_marker.marker IS 'The content of the marker message.';
