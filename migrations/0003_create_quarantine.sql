-- What is refused, kept and explained. The counters stay exact where the events of a flood are sampled.

CREATE TABLE quarantine_events (
    id             uuid NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT now(),
    received_at    timestamptz NOT NULL,
    event_ts       timestamptz,
    topic          text NOT NULL,
    -- Null where the topic could not be read.
    tenant_id      text,
    device_id      text,
    site_id        text,
    msg_type       text,
    reason         text NOT NULL,
    detail         text NOT NULL,
    payload        bytea NOT NULL,
    token_sha256   text CHECK (token_sha256 ~ '^[0-9a-f]{64}$'),
    message_id     uuid NOT NULL,
    replayed_at    timestamptz
) PARTITION BY RANGE (quarantined_at);

CREATE TABLE quarantine_events_late PARTITION OF quarantine_events DEFAULT;

CREATE INDEX quarantine_events_reason ON quarantine_events (tenant_id, reason, quarantined_at);
CREATE INDEX quarantine_events_id ON quarantine_events (id);

-- tenant_id is '' where there was none to name. Rows are updated often: room on the page keeps the updates off the index.
CREATE TABLE quarantine_counters_minute (
    bucket_minute timestamptz NOT NULL,
    tenant_id     text NOT NULL,
    reason        text NOT NULL,
    cnt           bigint NOT NULL CHECK (cnt >= 0),
    PRIMARY KEY (bucket_minute, tenant_id, reason)
) WITH (fillfactor = 70);
