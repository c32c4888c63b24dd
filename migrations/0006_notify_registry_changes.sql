-- Every change of the registry, whoever makes it, tells all replicas what to forget. Payloads on channel sluice_invalidate:
-- '<t>/device/<d>' for one device, '<t>/*' for all of a tenant, '*' for everything.

CREATE FUNCTION sluice_notify_device() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('sluice_invalidate', OLD.tenant_id || '/device/' || OLD.device_id);
    END IF;
    -- Within one transaction the same payload is delivered once, so an unchanged identity is not told twice.
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('sluice_invalidate', NEW.tenant_id || '/device/' || NEW.device_id);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION sluice_notify_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('sluice_invalidate', OLD.tenant_id || '/*');
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('sluice_invalidate', NEW.tenant_id || '/*');
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION sluice_notify_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sluice_invalidate', '*');
    RETURN NULL;
END $$;

CREATE TRIGGER tenants_notify AFTER INSERT OR UPDATE OR DELETE ON tenants
    FOR EACH ROW EXECUTE FUNCTION sluice_notify_tenant();
CREATE TRIGGER devices_notify AFTER INSERT OR UPDATE OR DELETE ON devices
    FOR EACH ROW EXECUTE FUNCTION sluice_notify_device();
CREATE TRIGGER device_certificates_notify AFTER INSERT OR UPDATE OR DELETE ON device_certificates
    FOR EACH ROW EXECUTE FUNCTION sluice_notify_device();

CREATE TRIGGER tenants_notify_truncate AFTER TRUNCATE ON tenants
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_all();
CREATE TRIGGER devices_notify_truncate AFTER TRUNCATE ON devices
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_all();
CREATE TRIGGER device_certificates_notify_truncate AFTER TRUNCATE ON device_certificates
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_notify_all();
