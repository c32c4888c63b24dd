-- Who published a message, as the broker's plugin proves it. Accepted messages: the certificate, whose device is the row's, or
-- the gateway's. Refused messages: the identity, and half of the certificate's fingerprint, since the registry may not have it.
ALTER TABLE telemetry ADD COLUMN certificate_id uuid;
ALTER TABLE quarantine_events ADD COLUMN publisher text;
ALTER TABLE quarantine_events ADD COLUMN publisher_certificate text;

COMMENT ON COLUMN telemetry.certificate_id IS
    'The row of device_certificates with which the publisher is proven to have logged in. NULL: not proven, or it logged in without a certificate.';
COMMENT ON COLUMN quarantine_events.publisher IS
    'The identity at the broker that is proven to have published the message. NULL: not proven.';
COMMENT ON COLUMN quarantine_events.publisher_certificate IS
    'The first 32 digits of the fingerprint_sha256 of the publisher''s certificate. NULL: not proven, or it logged in without a certificate.';

CREATE OR REPLACE FUNCTION sluice_make_telemetry_mine() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    described record;
BEGIN
    CREATE OR REPLACE VIEW telemetry_mine WITH (security_barrier) AS
        SELECT time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link, certificate_id
        FROM telemetry WHERE tenant_id = nullif(current_setting('app.tenant_id', true), '');
    COMMENT ON VIEW telemetry_mine IS
        'The telemetry of the tenant that app.tenant_id names. Readers use it on each layout of telemetry.';
    FOR described IN
        SELECT v.attname, col_description('telemetry'::regclass, t.attnum) AS meaning
        FROM pg_attribute v JOIN pg_attribute t ON t.attrelid = 'telemetry'::regclass AND t.attname = v.attname
        WHERE v.attrelid = 'telemetry_mine'::regclass AND v.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN telemetry_mine.%I IS %L', described.attname, described.meaning);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION sluice_bind_telemetry() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    layout CONSTANT text := sluice_telemetry_layout();
    chunk text;
BEGIN
    PERFORM sluice_make_telemetry_mine();
    GRANT SELECT ON telemetry_mine TO sluice_reader;
    IF layout = 'columnstore' THEN
        REVOKE ALL ON telemetry FROM sluice_reader;
        RETURN;
    END IF;
    ALTER TABLE telemetry ENABLE ROW LEVEL SECURITY;
    DROP POLICY IF EXISTS sluice_reader_tenant ON telemetry;
    CREATE POLICY sluice_reader_tenant ON telemetry FOR SELECT TO sluice_reader
        USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
    IF layout = 'partitioned' THEN
        GRANT SELECT ON telemetry TO sluice_reader;
        RETURN;
    END IF;
    -- A new chunk gets the grants of the hypertable, and not those of its columns. Existing chunks get both.
    REVOKE ALL ON telemetry FROM sluice_reader;
    GRANT SELECT (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link,
        certificate_id) ON telemetry TO sluice_reader;
    FOR chunk IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'telemetry'::regclass LOOP
        EXECUTE 'REVOKE ALL ON ' || chunk || ' FROM sluice_reader';
    END LOOP;
END $$;

-- As before, and the new columns of quarantine_events.
CREATE OR REPLACE FUNCTION sluice_bind_reader() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    bound text;
BEGIN
    PERFORM sluice_bind_reader_devices();
    GRANT SELECT (link, publisher, publisher_certificate) ON quarantine_events TO sluice_reader;
    FOREACH bound IN ARRAY ARRAY['link_outbox', 'link_refused'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', bound);
        EXECUTE format('DROP POLICY IF EXISTS sluice_reader_tenant ON %I', bound);
        EXECUTE format(
            'CREATE POLICY sluice_reader_tenant ON %I FOR SELECT TO sluice_reader
                USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))', bound);
        EXECUTE format('GRANT SELECT ON %I TO sluice_reader', bound);
    END LOOP;
END $$;

SELECT sluice_make_telemetry_mine();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') THEN
        PERFORM sluice_bind_telemetry();
        GRANT SELECT (publisher, publisher_certificate) ON quarantine_events TO sluice_reader;
    END IF;
END $$;
