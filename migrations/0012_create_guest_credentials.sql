-- Public credentials, good for an hour: every replica knows them, and a restart forgets none. Of a token only its SHA-256 is
-- kept, and nothing of the one who asked for it. The keeper deletes what is past its end.
CREATE TABLE guest_credentials (
    guest_id     uuid PRIMARY KEY,
    token_sha256 bytea NOT NULL CHECK (octet_length(token_sha256) = 32),
    issued_at    timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL
);
CREATE INDEX guest_credentials_ends ON guest_credentials (expires_at);
