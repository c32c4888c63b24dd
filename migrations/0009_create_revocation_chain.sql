-- A revocation is done when its last link held: row, CRL, broker, live session, proof. Which link held when stands here, so
-- that every replica and every command reads the same.

-- Numbers of CRLs; each list has a higher one than the last, whoever made it.
CREATE SEQUENCE crl_numbers AS bigint;

-- The list published last, and whether the broker was seen to enforce it. One row.
CREATE TABLE crl_state (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    issuer       text,
    crl_number   bigint NOT NULL DEFAULT 0,
    der          bytea,
    entries      bigint NOT NULL DEFAULT 0,
    next_update  timestamptz,
    published_at timestamptz,
    -- Somebody wants a new list, changed or not.
    requested_at timestamptz,
    -- Not known yet while null.
    enforced     boolean,
    finding      text,
    looked_at    timestamptz
);
INSERT INTO crl_state DEFAULT VALUES;

-- Certificates of our own that are revoked by design: a broker that refuses the newest has read the newest list.
CREATE TABLE crl_canaries (
    issuer        text NOT NULL,
    serial_number text NOT NULL,
    revoked_at    timestamptz NOT NULL DEFAULT now(),
    not_after     timestamptz NOT NULL,
    PRIMARY KEY (issuer, serial_number)
);

-- No foreign key: what was done stays told when the certificate's row goes.
CREATE TABLE certificate_revocations (
    certificate_id uuid PRIMARY KEY,
    noticed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    crl_number     bigint,
    published_at   timestamptz,
    reloaded_at    timestamptz,
    ended_at       timestamptz,
    proven_at      timestamptz,
    failed_link    text CHECK (failed_link IN ('published', 'reloaded', 'ended', 'proven')),
    failure        text,
    failed_at      timestamptz
);
CREATE INDEX certificate_revocations_open ON certificate_revocations (noticed_at) WHERE proven_at IS NULL;
CREATE INDEX device_certificates_revoked ON device_certificates (issuer, not_after) WHERE status = 'REVOKED';

INSERT INTO certificate_revocations (certificate_id)
    SELECT id FROM device_certificates WHERE status = 'REVOKED' AND not_after > now();

-- Also a revocation by plain SQL begins the chain, in its own transaction.
CREATE FUNCTION sluice_note_revocation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'REVOKED' THEN
        INSERT INTO certificate_revocations (certificate_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    ELSIF TG_OP = 'UPDATE' AND OLD.status = 'REVOKED' THEN
        -- Taken back: the next list goes without it.
        DELETE FROM certificate_revocations WHERE certificate_id = NEW.id;
        UPDATE crl_state SET requested_at = clock_timestamp();
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER device_certificates_note_revocation AFTER INSERT OR UPDATE OF status ON device_certificates
    FOR EACH ROW EXECUTE FUNCTION sluice_note_revocation();
