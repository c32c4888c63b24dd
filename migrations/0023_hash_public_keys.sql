-- A device renews its certificate with a request for a key. The hash of the key makes a repeated request the same request, and
-- finds the certificates of a key that was revoked. Rows written before this migration, or by plain SQL, get it from cert_pem by
-- the daemon: SQL cannot read X.509.

ALTER TABLE device_certificates
    ADD COLUMN public_key_sha256 text CHECK (public_key_sha256 ~ '^([0-9a-f]{64})?$');

CREATE INDEX device_certificates_public_key ON device_certificates (tenant_id, device_id, public_key_sha256)
    WHERE public_key_sha256 IS NOT NULL;
-- The rows that the daemon has still to read.
CREATE INDEX device_certificates_without_key ON device_certificates (id)
    WHERE public_key_sha256 IS NULL AND cert_pem IS NOT NULL;

-- The new column alone changes nothing that a replica has cached: filling it for a whole fleet must not empty every cache.
DROP TRIGGER device_certificates_notify ON device_certificates;
CREATE TRIGGER device_certificates_notify AFTER INSERT OR DELETE OR UPDATE OF
    id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, status, not_before, not_after, retire_at,
    replaces, revoked_at, revoked_reason, cert_pem, created_at ON device_certificates
    FOR EACH ROW EXECUTE FUNCTION sluice_notify_device();

COMMENT ON COLUMN device_certificates.public_key_sha256 IS
    'SHA-256 of the public key (SubjectPublicKeyInfo in DER), in lower-case hex. Null: not read yet, or cert_pem is null. Empty: '
    'cert_pem cannot be read.';
