-- A mass change of the registry notifies each replica in a few lines. A statement that changes up to 100 rows names each device,
-- as before. Past 100 rows it names the tenants, '<t>/*'; past 100 tenants it says '*'.

-- Equal payloads of one transaction are delivered once.
CREATE FUNCTION sluice_notify_tenants(tenants text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(tenants) > 100 THEN
        PERFORM pg_notify('sluice_invalidate', '*');
    ELSE
        PERFORM pg_notify('sluice_invalidate', tenant || '/*') FROM unnest(tenants) AS tenant;
    END IF;
END $$;

-- The rows of a statement are in the transition table "changed": the new ones, or those that were deleted.
CREATE FUNCTION sluice_notify_changed_devices() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    devices text[] := ARRAY(SELECT tenant_id || '/device/' || device_id FROM changed LIMIT 101);
BEGIN
    IF cardinality(devices) > 100 THEN
        PERFORM sluice_notify_tenants(ARRAY(SELECT DISTINCT tenant_id FROM changed LIMIT 101));
    ELSE
        PERFORM pg_notify('sluice_invalidate', device) FROM unnest(devices) AS device;
    END IF;
    RETURN NULL;
END $$;

-- Without the certificates of which only the hash of the key was filled: no replica has cached it.
CREATE FUNCTION sluice_notify_changed_certificates() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    devices text[] := ARRAY(
        SELECT c.tenant_id || '/device/' || c.device_id FROM changed c LEFT JOIN before b ON b.id = c.id
        WHERE to_jsonb(c) - 'public_key_sha256' IS DISTINCT FROM to_jsonb(b) - 'public_key_sha256' LIMIT 101);
BEGIN
    IF cardinality(devices) > 100 THEN
        PERFORM sluice_notify_tenants(ARRAY(SELECT DISTINCT tenant_id FROM changed LIMIT 101));
    ELSE
        PERFORM pg_notify('sluice_invalidate', device) FROM unnest(devices) AS device;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION sluice_notify_changed_tenants() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sluice_notify_tenants(ARRAY(SELECT tenant_id FROM changed LIMIT 101));
    RETURN NULL;
END $$;

-- The functions of the row triggers. Past 100 rows of a transaction they name the tenants.
CREATE OR REPLACE FUNCTION sluice_notify_device() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    rows_before int := coalesce(nullif(current_setting('sluice.notified_rows', true), ''), '0');
    what text := '/*';
BEGIN
    PERFORM set_config('sluice.notified_rows', (rows_before + 1)::text, true);
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

CREATE OR REPLACE FUNCTION sluice_notify_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    rows_before int := coalesce(nullif(current_setting('sluice.notified_rows', true), ''), '0');
BEGIN
    PERFORM set_config('sluice.notified_rows', (rows_before + 1)::text, true);
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

-- A subscriber of logical replication executes no statement: it applies rows, and only row triggers fire. So the row triggers
-- fire there, and nowhere else.
ALTER TABLE tenants ENABLE REPLICA TRIGGER tenants_notify;
ALTER TABLE devices ENABLE REPLICA TRIGGER devices_notify;
ALTER TABLE device_certificates ENABLE REPLICA TRIGGER device_certificates_notify;
ALTER TABLE tenants ENABLE ALWAYS TRIGGER tenants_notify_truncate;
ALTER TABLE devices ENABLE ALWAYS TRIGGER devices_notify_truncate;
ALTER TABLE device_certificates ENABLE ALWAYS TRIGGER device_certificates_notify_truncate;

CREATE TRIGGER tenants_notify_inserted AFTER INSERT ON tenants REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_changed_tenants();
CREATE TRIGGER tenants_notify_updated AFTER UPDATE ON tenants REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_changed_tenants();
CREATE TRIGGER tenants_notify_deleted AFTER DELETE ON tenants REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_changed_tenants();
CREATE TRIGGER devices_notify_inserted AFTER INSERT ON devices REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_changed_devices();
CREATE TRIGGER devices_notify_updated AFTER UPDATE ON devices REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_changed_devices();
CREATE TRIGGER devices_notify_deleted AFTER DELETE ON devices REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_changed_devices();
CREATE TRIGGER device_certificates_notify_inserted AFTER INSERT ON device_certificates REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_changed_devices();
CREATE TRIGGER device_certificates_notify_updated AFTER UPDATE ON device_certificates
    REFERENCING OLD TABLE AS before NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_changed_certificates();
CREATE TRIGGER device_certificates_notify_deleted AFTER DELETE ON device_certificates REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_changed_devices();

-- A row that moves to another name also changes what the former name means. The statement triggers see the new name only: they
-- keep one version of the rows, not two.
CREATE TRIGGER tenants_notify_renamed AFTER UPDATE OF tenant_id ON tenants
    FOR EACH ROW WHEN (OLD.tenant_id <> NEW.tenant_id) EXECUTE FUNCTION sluice_notify_tenant();
CREATE TRIGGER devices_notify_renamed AFTER UPDATE OF tenant_id, device_id ON devices
    FOR EACH ROW WHEN (OLD.tenant_id <> NEW.tenant_id OR OLD.device_id <> NEW.device_id)
    EXECUTE FUNCTION sluice_notify_device();
CREATE TRIGGER device_certificates_notify_renamed AFTER UPDATE OF tenant_id, device_id ON device_certificates
    FOR EACH ROW WHEN (OLD.tenant_id <> NEW.tenant_id OR OLD.device_id <> NEW.device_id)
    EXECUTE FUNCTION sluice_notify_device();
