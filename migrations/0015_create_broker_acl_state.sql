-- The broker's access rules as they were written last, so that every replica and every command states the same. One row.
CREATE TABLE broker_acl_state (
    single         boolean PRIMARY KEY DEFAULT true CHECK (single),
    -- In which form; null: none written yet.
    mode           text CHECK (mode IN ('patterns', 'rows')),
    -- What the broker states of itself.
    broker_version text,
    -- SHA-256 of the file.
    digest         bytea,
    -- Lines of the file that Sluice made.
    generated      bigint NOT NULL DEFAULT 0,
    written_at     timestamptz,
    -- When the broker was notified of it.
    notified_at    timestamptz,
    -- What is wrong; null: nothing.
    finding        text,
    looked_at      timestamptz
);
INSERT INTO broker_acl_state DEFAULT VALUES;
