-- One-time codes with which a device gets its first certificate. Of a code only its SHA-256 is kept. A use is recorded in the
-- transaction that stores the certificate: the same key gets the same certificate again, without a second use.

CREATE TABLE enrolment_codes (
    tenant_id      text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    code_id        uuid NOT NULL,
    code_sha256    bytea NOT NULL CHECK (octet_length(code_sha256) = 32),
    device_id      text,
    device_pattern text CHECK (device_pattern ~ '^[A-Za-z0-9._:-]{0,64}\*$'),
    site_id        text,
    adds_devices   boolean NOT NULL DEFAULT true,
    max_uses       integer NOT NULL DEFAULT 1 CHECK (max_uses BETWEEN 1 AND 100000),
    uses           integer NOT NULL DEFAULT 0 CHECK (uses BETWEEN 0 AND max_uses),
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL CHECK (isfinite(expires_at)),
    revoked_at     timestamptz,
    PRIMARY KEY (tenant_id, code_id),
    UNIQUE (tenant_id, code_sha256),
    CHECK (num_nonnulls(device_id, device_pattern) = 1)
);
CREATE INDEX enrolment_codes_ends ON enrolment_codes (tenant_id, expires_at);

CREATE TABLE enrolment_uses (
    tenant_id         text NOT NULL,
    code_id           uuid NOT NULL,
    device_id         text NOT NULL,
    public_key_sha256 text NOT NULL CHECK (public_key_sha256 ~ '^[0-9a-f]{64}$'),
    certificate_id    uuid NOT NULL,
    used_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, code_id, device_id, public_key_sha256),
    FOREIGN KEY (tenant_id, code_id) REFERENCES enrolment_codes ON DELETE CASCADE
);

ALTER TABLE enrolment_codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE enrolment_uses ENABLE ROW LEVEL SECURITY;

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
            ('enrolment_codes', '(tenant_id, code_id, device_id, device_pattern, site_id, adds_devices, max_uses, uses,
                created_at, expires_at, revoked_at)'),
            ('enrolment_uses', ''),
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

COMMENT ON TABLE enrolment_codes IS 'One-time codes with which devices get their first certificate by EST.';
COMMENT ON COLUMN enrolment_codes.tenant_id IS 'Tenant whose devices the code enrols.';
COMMENT ON COLUMN enrolment_codes.code_id IS 'Identifier of the code; it is no secret.';
COMMENT ON COLUMN enrolment_codes.code_sha256 IS 'SHA-256 of the code. The code itself is never stored.';
COMMENT ON COLUMN enrolment_codes.device_id IS 'The device that the code enrols. Null: device_pattern names the devices.';
COMMENT ON COLUMN enrolment_codes.device_pattern IS 'The beginning of the names of the devices that the code enrols, and *.';
COMMENT ON COLUMN enrolment_codes.site_id IS 'Site of a device that the code adds. Null: none.';
COMMENT ON COLUMN enrolment_codes.adds_devices IS 'Whether a device that is not registered is added.';
COMMENT ON COLUMN enrolment_codes.max_uses IS 'How often the code may be used.';
COMMENT ON COLUMN enrolment_codes.uses IS 'How often the code was used.';
COMMENT ON COLUMN enrolment_codes.created_at IS 'When the code was made.';
COMMENT ON COLUMN enrolment_codes.expires_at IS 'When the code expires.';
COMMENT ON COLUMN enrolment_codes.revoked_at IS 'When the code was revoked. Null: not revoked.';
COMMENT ON TABLE enrolment_uses IS 'Which certificate was issued for which use of an enrolment code.';
COMMENT ON COLUMN enrolment_uses.tenant_id IS 'Tenant of the device.';
COMMENT ON COLUMN enrolment_uses.code_id IS 'The code.';
COMMENT ON COLUMN enrolment_uses.device_id IS 'The device that used the code.';
COMMENT ON COLUMN enrolment_uses.public_key_sha256 IS
    'SHA-256 of the public key (SubjectPublicKeyInfo) of the request. The same key gets the same certificate again.';
COMMENT ON COLUMN enrolment_uses.certificate_id IS 'The certificate that was issued.';
COMMENT ON COLUMN enrolment_uses.used_at IS 'When the code was used.';
