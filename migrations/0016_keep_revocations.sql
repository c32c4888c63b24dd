-- What was revoked stays revoked until its end, whatever becomes of the certificate's row: the CRL is made from a table of its
-- own, which triggers fill. A certificate that loses its device or its row is revoked, because nothing knows it any more and
-- the broker would still let it in.

-- No foreign key: a row outlives the certificate's. How far a revocation came stands in certificate_revocations.
CREATE TABLE revoked_certificates (
    certificate_id     uuid PRIMARY KEY,
    tenant_id          text NOT NULL,
    device_id          text NOT NULL,
    common_name        text NOT NULL,
    fingerprint_sha256 text NOT NULL,
    issuer             text NOT NULL,
    serial_number      text NOT NULL,
    not_after          timestamptz NOT NULL,
    revoked_at         timestamptz NOT NULL,
    revoked_reason     text
);

-- Filled while nobody waits. Also with those that ended lately: if the clock is ahead now, they have not ended.
INSERT INTO revoked_certificates
    SELECT id, tenant_id, device_id, common_name, fingerprint_sha256, issuer, serial_number, not_after,
        coalesce(revoked_at, now()), revoked_reason
    FROM device_certificates WHERE status = 'REVOKED' AND not_after > now() - interval '90 days';

-- Is this certificate revoked? By either of its names: a hand may have spelled the number differently.
CREATE INDEX revoked_certificates_serial ON revoked_certificates (issuer, serial_number);
CREATE INDEX revoked_certificates_fingerprint ON revoked_certificates (fingerprint_sha256);

-- Replaces the function of migration 0009; no status takes a revocation back.
CREATE OR REPLACE FUNCTION sluice_note_revocation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'REVOKED' THEN
        INSERT INTO revoked_certificates VALUES (NEW.id, NEW.tenant_id, NEW.device_id, NEW.common_name, NEW.fingerprint_sha256,
            NEW.issuer, NEW.serial_number, NEW.not_after, coalesce(NEW.revoked_at, now()), NEW.revoked_reason)
            ON CONFLICT (certificate_id) DO NOTHING;
        INSERT INTO certificate_revocations (certificate_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;

-- Two corrections reach the list: the reason, and a serial number that could not be read.
CREATE FUNCTION sluice_correct_revocation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE revoked_certificates SET revoked_reason = NEW.revoked_reason, serial_number = NEW.serial_number
        WHERE certificate_id = NEW.id;
    UPDATE certificate_revocations SET crl_number = NULL
        WHERE certificate_id = NEW.id AND OLD.serial_number <> NEW.serial_number;
    RETURN NULL;
END $$;
CREATE TRIGGER device_certificates_correct_revocation AFTER UPDATE OF revoked_reason, serial_number ON device_certificates
    FOR EACH ROW WHEN (OLD.status = 'REVOKED' AND NEW.status = 'REVOKED') EXECUTE FUNCTION sluice_correct_revocation();

-- A serial number that sluice can read is pairs of hex digits. A row with another names no certificate that a broker could meet.
CREATE FUNCTION sluice_is_serial(serial text) RETURNS boolean LANGUAGE sql IMMUTABLE AS
    $$ SELECT serial ~ '^([0-9A-Fa-f]{2}){1,40}$' AND serial ~ '[1-9A-Fa-f]' $$;

CREATE FUNCTION sluice_keep_revoked_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'REVOKED' AND NEW.id = OLD.id AND NEW.issuer = OLD.issuer AND NEW.not_after = OLD.not_after
        AND NEW.fingerprint_sha256 = OLD.fingerprint_sha256 AND NEW.serial_number = OLD.serial_number THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'certificate % is revoked and stays revoked until it ends at %: its id, status, issuer, serial_number, '
        'fingerprint_sha256 and not_after do not change until then', OLD.id, OLD.not_after
        USING ERRCODE = 'restrict_violation',
            HINT = 'Issue a new certificate to the device: sluice cert issue, or POST /api/v1/.../certificates.';
END $$;
CREATE TRIGGER device_certificates_keep_revoked BEFORE UPDATE ON device_certificates
    FOR EACH ROW WHEN (OLD.status = 'REVOKED' AND OLD.not_after > now() AND sluice_is_serial(OLD.serial_number))
    EXECUTE FUNCTION sluice_keep_revoked_row();

-- A row that comes back, by hand or from a backup, comes back revoked.
CREATE FUNCTION sluice_enter_revoked() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    known revoked_certificates;
BEGIN
    SELECT * INTO known FROM revoked_certificates r
        WHERE (r.issuer = NEW.issuer AND r.serial_number = NEW.serial_number) OR r.fingerprint_sha256 = NEW.fingerprint_sha256
        LIMIT 1;
    IF FOUND THEN
        NEW.status := 'REVOKED';
        NEW.revoked_at := coalesce(NEW.revoked_at, known.revoked_at);
        NEW.revoked_reason := coalesce(NEW.revoked_reason, known.revoked_reason);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER device_certificates_enter_revoked BEFORE INSERT ON device_certificates
    FOR EACH ROW EXECUTE FUNCTION sluice_enter_revoked();

CREATE FUNCTION sluice_revoke_removed_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH revoked AS (
        INSERT INTO revoked_certificates
            SELECT id, tenant_id, device_id, common_name, fingerprint_sha256, issuer, serial_number, not_after,
                coalesce(revoked_at, now()), coalesce(revoked_reason, 'cessationOfOperation')
            FROM removed WHERE not_after > now() AND sluice_is_serial(serial_number)
            ON CONFLICT (certificate_id) DO NOTHING RETURNING certificate_id)
    INSERT INTO certificate_revocations (certificate_id) SELECT certificate_id FROM revoked ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER device_certificates_revoke_removed AFTER DELETE ON device_certificates
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION sluice_revoke_removed_rows();

CREATE FUNCTION sluice_revoke_all_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH revoked AS (
        INSERT INTO revoked_certificates
            SELECT id, tenant_id, device_id, common_name, fingerprint_sha256, issuer, serial_number, not_after,
                coalesce(revoked_at, now()), coalesce(revoked_reason, 'cessationOfOperation')
            FROM device_certificates WHERE not_after > now() AND sluice_is_serial(serial_number)
            ON CONFLICT (certificate_id) DO NOTHING RETURNING certificate_id)
    INSERT INTO certificate_revocations (certificate_id) SELECT certificate_id FROM revoked ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER device_certificates_revoke_truncated BEFORE TRUNCATE ON device_certificates
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_revoke_all_rows();

-- A device that goes takes its certificates along, whoever removes it; one that gets another name needs others.
CREATE FUNCTION sluice_revoke_of_removed_devices() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE device_certificates c SET status = 'REVOKED', revoked_at = now(), revoked_reason = 'cessationOfOperation'
        FROM (SELECT tenant_id, device_id FROM removed ORDER BY 1, 2) d
        WHERE c.tenant_id = d.tenant_id AND c.device_id = d.device_id AND c.status = 'ACTIVE';
    RETURN NULL;
END $$;
CREATE TRIGGER devices_revoke_certificates AFTER DELETE ON devices
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION sluice_revoke_of_removed_devices();

CREATE FUNCTION sluice_revoke_of_renamed_device() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE device_certificates SET status = 'REVOKED', revoked_at = now(), revoked_reason = 'affiliationChanged'
        WHERE tenant_id = OLD.tenant_id AND device_id = OLD.device_id AND status = 'ACTIVE';
    RETURN NULL;
END $$;
CREATE TRIGGER devices_revoke_renamed AFTER UPDATE OF tenant_id, device_id ON devices FOR EACH ROW
    WHEN (OLD.tenant_id <> NEW.tenant_id OR OLD.device_id <> NEW.device_id) EXECUTE FUNCTION sluice_revoke_of_renamed_device();

CREATE FUNCTION sluice_revoke_of_all_devices() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE device_certificates SET status = 'REVOKED', revoked_at = now(), revoked_reason = 'cessationOfOperation'
        WHERE status = 'ACTIVE';
    RETURN NULL;
END $$;
CREATE TRIGGER devices_revoke_truncated AFTER TRUNCATE ON devices
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_revoke_of_all_devices();

-- The revocations themselves do not change until the certificate has ended.
CREATE FUNCTION sluice_keep_revocation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NOT sluice_is_serial(OLD.serial_number) AND NEW.certificate_id = OLD.certificate_id
        AND NEW.issuer = OLD.issuer AND NEW.not_after = OLD.not_after
        AND NEW.fingerprint_sha256 = OLD.fingerprint_sha256 THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'certificate % is revoked and stays revoked until it ends at %: its row in revoked_certificates is not changed '
        'or removed before', OLD.certificate_id, OLD.not_after
        USING ERRCODE = 'restrict_violation', HINT = 'Issue a new certificate to the device: sluice cert issue.';
END $$;
CREATE TRIGGER revoked_certificates_keep_changed BEFORE UPDATE ON revoked_certificates FOR EACH ROW
    WHEN (OLD.not_after > now() AND (NEW.certificate_id, NEW.issuer, NEW.serial_number, NEW.fingerprint_sha256, NEW.not_after)
        IS DISTINCT FROM (OLD.certificate_id, OLD.issuer, OLD.serial_number, OLD.fingerprint_sha256, OLD.not_after))
    EXECUTE FUNCTION sluice_keep_revocation();
CREATE TRIGGER revoked_certificates_keep_removed BEFORE DELETE ON revoked_certificates FOR EACH ROW
    WHEN (OLD.not_after > now()) EXECUTE FUNCTION sluice_keep_revocation();

CREATE FUNCTION sluice_keep_revocations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM revoked_certificates WHERE not_after > now()) THEN
        RAISE EXCEPTION 'revoked_certificates holds certificates that have not ended, and is not emptied'
            USING ERRCODE = 'restrict_violation', HINT = 'DELETE those whose not_after has passed.';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER revoked_certificates_keep_truncated BEFORE TRUNCATE ON revoked_certificates
    FOR EACH STATEMENT EXECUTE FUNCTION sluice_keep_revocations();

-- What was revoked after the first filling and before the triggers were there. What had no device any more by then, too.
INSERT INTO revoked_certificates
    SELECT id, tenant_id, device_id, common_name, fingerprint_sha256, issuer, serial_number, not_after,
        coalesce(revoked_at, now()), revoked_reason
    FROM device_certificates c WHERE status = 'REVOKED' AND not_after > now() - interval '90 days'
        AND NOT EXISTS (SELECT FROM revoked_certificates r WHERE r.certificate_id = c.id);
UPDATE device_certificates c SET status = 'REVOKED', revoked_at = now(), revoked_reason = 'cessationOfOperation'
    WHERE status = 'ACTIVE' AND not_after > now()
        AND NOT EXISTS (SELECT FROM devices d WHERE d.tenant_id = c.tenant_id AND d.device_id = c.device_id);
