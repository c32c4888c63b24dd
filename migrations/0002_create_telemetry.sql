-- What is believed. Partitioned by day on the device's time; the daemon makes the partitions ahead and drops the old ones.

CREATE TABLE telemetry (
    time        timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    tenant_id   text NOT NULL,
    device_id   text NOT NULL,
    site_id     text,
    msg_type    text NOT NULL,
    seq         bigint,
    metrics     jsonb NOT NULL,
    extra       jsonb,
    message_id  uuid NOT NULL
) PARTITION BY RANGE (time);

-- The home of rows whose day has no partition of its own.
CREATE TABLE telemetry_late PARTITION OF telemetry DEFAULT;

-- One index serves both: a message is stored once, and a device's rows are found by time.
CREATE UNIQUE INDEX telemetry_once ON telemetry (tenant_id, device_id, time, message_id);
