-- Whether a device has what is desired. One function decides it, for Sluice and for every reader.

-- The parts of the desired document that the reported one lacks; null if there are none. Objects are compared member by
-- member, arrays and scalars as a whole. As in a JSON merge patch, a member that is null is one that must be absent.
CREATE FUNCTION sluice_shadow_delta(desired jsonb, reported jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    delta jsonb;
BEGIN
    IF desired IS NULL OR desired = coalesce(reported, 'null') THEN
        RETURN NULL;
    END IF;
    IF jsonb_typeof(desired) <> 'object' OR jsonb_typeof(reported) IS DISTINCT FROM 'object' THEN
        RETURN desired;
    END IF;
    SELECT jsonb_object_agg(key, difference) INTO delta
        FROM (SELECT key, sluice_shadow_delta(value, reported -> key) AS difference FROM jsonb_each(desired)) AS members
        WHERE difference IS NOT NULL;
    RETURN delta;
END $$;

-- A function with the rights of its caller: row security holds for a reader also through the view. Postgres 14 has no view
-- with the rights of its caller.
CREATE FUNCTION sluice_device_shadows() RETURNS TABLE (tenant_id text, device_id text, desired jsonb, desired_version bigint,
        desired_at timestamptz, reported jsonb, reported_version bigint, reported_at timestamptz, delta jsonb, in_sync boolean)
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT d.tenant_id, d.device_id, s.desired, coalesce(s.desired_version, 0), s.desired_at,
        s.reported, s.reported_version, s.reported_at,
        coalesce(sluice_shadow_delta(s.desired, s.reported), '{}'), sluice_shadow_delta(s.desired, s.reported) IS NULL
    FROM devices d LEFT JOIN device_state s USING (tenant_id, device_id);
END;

CREATE VIEW device_shadows AS SELECT * FROM sluice_device_shadows();

CREATE INDEX device_commands_queued ON device_commands (tenant_id, created_at, position);

-- The tables as before, and the view.
ALTER FUNCTION sluice_bind_reader() RENAME TO sluice_bind_reader_tables;
CREATE FUNCTION sluice_bind_reader() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
BEGIN
    PERFORM sluice_bind_reader_tables();
    GRANT SELECT ON device_shadows TO sluice_reader;
END $$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') THEN
        PERFORM sluice_bind_reader();
    END IF;
END $$;

COMMENT ON VIEW device_shadows IS
    'One row for each registered device: what is desired, what the device reported, and the difference.';
COMMENT ON COLUMN device_shadows.tenant_id IS 'Tenant of the device.';
COMMENT ON COLUMN device_shadows.device_id IS 'The device.';
COMMENT ON COLUMN device_shadows.desired IS 'The desired document. Null: none.';
COMMENT ON COLUMN device_shadows.desired_version IS 'Its version. 0: there has been none.';
COMMENT ON COLUMN device_shadows.desired_at IS 'When it was changed last.';
COMMENT ON COLUMN device_shadows.reported IS 'The document that the device reported last.';
COMMENT ON COLUMN device_shadows.reported_version IS 'The version that the device gave its report.';
COMMENT ON COLUMN device_shadows.reported_at IS 'When the report was received.';
COMMENT ON COLUMN device_shadows.delta IS
    'The parts of the desired document that the reported one lacks. {}: in sync.';
COMMENT ON COLUMN device_shadows.in_sync IS 'Whether the delta is empty.';
