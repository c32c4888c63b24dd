-- A serial number is written down before the certificate that carries it is signed: whatever ends the process in between,
-- there is a record of every number that may be in the world. A number without a row in device_certificates was reserved
-- and its certificate was never handed out.

CREATE TABLE certificate_serials (
    issuer        text NOT NULL,
    serial_number text NOT NULL,
    tenant_id     text NOT NULL,
    device_id     text NOT NULL,
    reserved_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, serial_number)
);

-- For the keeper, which asks every minute, and for `cert list --expiring`.
CREATE INDEX device_certificates_ends ON device_certificates (not_after) WHERE status = 'ACTIVE';
CREATE INDEX device_certificates_retires ON device_certificates (retire_at) WHERE status = 'ACTIVE' AND retire_at IS NOT NULL;
-- What replaced it?
CREATE INDEX device_certificates_replaces ON device_certificates (replaces) WHERE replaces IS NOT NULL;
