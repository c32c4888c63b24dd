-- A session at the broker outlives the process and its settings: what it is subscribed to stays until somebody unsubscribes.
-- So each client id remembers here what the broker may hold for it, and where.
CREATE TABLE broker_sessions (
    client_id     text PRIMARY KEY,
    -- Where it was subscribed last, as host:port, and when; null: never yet.
    broker        text,
    subscribed_at timestamptz,
    -- Noted before it is asked for, struck out once the broker has given it up.
    filters       text[] NOT NULL,
    CHECK ((broker IS NULL) = (subscribed_at IS NULL))
);
