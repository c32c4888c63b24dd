-- What a device last said of itself, and what it was told to do. No foreign key to devices: a message in flight must not
-- fail because its device was removed a moment ago.

-- Each row is updated with almost every batch: room on the page keeps the updates off the index.
CREATE TABLE device_state (
    tenant_id         text NOT NULL,
    device_id         text NOT NULL,
    last_seen_at      timestamptz,
    last_telemetry_at timestamptz,
    reported          jsonb,
    reported_version  bigint,
    desired           jsonb,
    desired_version   bigint,
    PRIMARY KEY (tenant_id, device_id)
) WITH (fillfactor = 70);

CREATE TABLE device_commands (
    command_id   uuid NOT NULL,
    tenant_id    text NOT NULL,
    device_id    text NOT NULL,
    command_type text NOT NULL,
    params       jsonb NOT NULL DEFAULT '{}',
    status       text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'PUBLISHED', 'ACKNOWLEDGED', 'EXPIRED')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,
    acked_at     timestamptz,
    ack_details  jsonb,
    expires_at   timestamptz,
    PRIMARY KEY (tenant_id, device_id, command_id)
);

CREATE INDEX device_commands_open ON device_commands (tenant_id, device_id, created_at)
    WHERE status IN ('PENDING', 'PUBLISHED');
