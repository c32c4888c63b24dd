-- Logins at the broker that were proved by a token the broker does not repeat: for whom the questions about topics are
-- answered until the proof ends, also after a restart and by another replica. No token and no password is here.

CREATE TABLE access_sessions (
    username     text NOT NULL,
    client_id    text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('service', 'user', 'guest')),
    subject_id   text NOT NULL,
    groups       jsonb NOT NULL,
    scopes       jsonb NOT NULL,
    logged_in_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (username, client_id)
);
-- For the purge.
CREATE INDEX access_sessions_ends ON access_sessions (expires_at);
