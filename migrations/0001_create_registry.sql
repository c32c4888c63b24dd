-- Who may speak: tenants, their devices, the devices' certificates.
-- The pattern of names is the one of src/domain/ids.rs; it stands here too because people also write these tables by plain SQL,
-- and a name outside it could never match a topic.

CREATE TABLE tenants (
    tenant_id  text PRIMARY KEY CHECK (tenant_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    name       text NOT NULL,
    status     text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'SUSPENDED')),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE devices (
    tenant_id            text NOT NULL REFERENCES tenants (tenant_id),
    device_id            text NOT NULL CHECK (device_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    site_id              text,
    status               text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'INACTIVE', 'REVOKED')),
    -- SHA-256 of the provisioning token, in lower hex; the token itself is never kept.
    provision_token_hash text CHECK (provision_token_hash ~ '^[0-9a-f]{64}$'),
    metadata             jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, device_id)
);

-- No foreign key to devices: deleting a device never erases a revocation.
CREATE TABLE device_certificates (
    id                 uuid PRIMARY KEY,
    tenant_id          text NOT NULL,
    device_id          text NOT NULL,
    fingerprint_sha256 text NOT NULL UNIQUE CHECK (fingerprint_sha256 ~ '^[0-9a-f]{64}$'),
    serial_number      text NOT NULL,
    common_name        text NOT NULL,
    issuer             text NOT NULL,
    status             text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'REVOKED', 'EXPIRED')),
    not_before         timestamptz NOT NULL,
    not_after          timestamptz NOT NULL,
    retire_at          timestamptz,
    replaces           uuid,
    revoked_at         timestamptz,
    revoked_reason     text,
    cert_pem           text,
    created_at         timestamptz NOT NULL DEFAULT now(),
    UNIQUE (issuer, serial_number),
    CHECK (not_before < not_after)
);

CREATE INDEX device_certificates_device ON device_certificates (tenant_id, device_id, status);

CREATE FUNCTION sluice_touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;

CREATE TRIGGER devices_touch_updated_at BEFORE UPDATE ON devices
    FOR EACH ROW EXECUTE FUNCTION sluice_touch_updated_at();
