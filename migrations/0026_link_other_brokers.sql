-- Links to other brokers and clouds: what waits for them, what they refused, and where their backlog was full.

CREATE TABLE link_state (
    link          text PRIMARY KEY CHECK (link ~ '^[a-z0-9-]{1,32}$'),
    lanes         smallint NOT NULL DEFAULT 1,
    refilled      bigint NOT NULL DEFAULT 0,
    lost          bigint NOT NULL DEFAULT 0,
    registered_at timestamptz NOT NULL DEFAULT now()
);

-- Rows are written in the transaction that stores the message, and deleted after PUBACK.
CREATE TABLE link_outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    link        text NOT NULL,
    lane        smallint NOT NULL,
    tenant_id   text NOT NULL,
    device_id   text NOT NULL,
    msg_type    text NOT NULL,
    topic       text NOT NULL,
    mode        text NOT NULL CHECK (mode IN ('binary', 'structured', 'raw')),
    payload     bytea NOT NULL,
    time        timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    message_id  uuid NOT NULL,
    via         text[],
    queued_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (link, lane, id)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_insert_scale_factor = 0.05,
        autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.2);

-- What waits is the sum over the writers: each replica adds in a row of its own, the sender subtracts in its row.
CREATE TABLE link_counts (
    link     text NOT NULL,
    writer   text NOT NULL,
    messages bigint NOT NULL DEFAULT 0,
    bytes    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (link, writer)
) WITH (fillfactor = 50);

-- A gap: messages from this time on are in telemetry and not in the outbox. One row for each replica that found it full. A batch
-- that finds rows locks them FOR KEY SHARE until it commits, and a refill locks them FOR UPDATE: no message is between the two.
CREATE TABLE link_gaps (
    link      text NOT NULL,
    writer    text NOT NULL,
    from_at   timestamptz NOT NULL,
    messages  bigint NOT NULL,
    lost      bigint NOT NULL DEFAULT 0,
    opened_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (link, writer)
) WITH (fillfactor = 50);

CREATE TABLE link_refused (
    link        text NOT NULL,
    id          bigint NOT NULL,
    lane        smallint NOT NULL,
    tenant_id   text NOT NULL,
    device_id   text NOT NULL,
    msg_type    text NOT NULL,
    topic       text NOT NULL,
    mode        text NOT NULL,
    payload     bytea NOT NULL,
    time        timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    message_id  uuid NOT NULL,
    via         text[],
    queued_at   timestamptz NOT NULL,
    reason      text NOT NULL,
    code        smallint,
    detail      text NOT NULL,
    refused_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (link, id)
);
CREATE INDEX link_refused_by_time ON link_refused (refused_at);

-- The guest identity that a Cognito identity pool has given to a link.
CREATE TABLE link_identity (
    link             text PRIMARY KEY,
    identity_pool_id text NOT NULL,
    identity_id      text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);

-- What each lane reports; a row that was not renewed for a minute is out of date.
CREATE TABLE link_status (
    link        text NOT NULL,
    lane        smallint NOT NULL,
    replica     text NOT NULL,
    state       text NOT NULL,
    since       timestamptz NOT NULL,
    detail      text,
    advice      text,
    published   bigint NOT NULL DEFAULT 0,
    in_flight   integer NOT NULL DEFAULT 0,
    reported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (link, lane)
) WITH (fillfactor = 50);

-- The name of this installation in CloudEvents and in their attribute sluicenode, where the links file gives none.
CREATE TABLE link_node (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    node   text NOT NULL DEFAULT substr(replace(gen_random_uuid()::text, '-', ''), 1, 12)
);
INSERT INTO link_node DEFAULT VALUES;

-- The identities of stored events: an event that is delivered twice is one row, also without a time of its own.
CREATE TABLE link_event_ids (
    tenant_id  text NOT NULL,
    device_id  text NOT NULL,
    message_id uuid NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, device_id, message_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);
CREATE INDEX link_event_ids_by_time ON link_event_ids USING brin (seen_at) WITH (autosummarize = on);

ALTER TABLE telemetry ADD COLUMN link text;
ALTER TABLE quarantine_events ADD COLUMN link text;

-- Refills a gap in the order of receipt. Only for partitions from now on: a gap concerns messages received from now on.
CREATE INDEX telemetry_received ON ONLY telemetry USING brin (received_at) WITH (autosummarize = on);

ALTER TABLE link_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE link_outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE link_counts ENABLE ROW LEVEL SECURITY;
ALTER TABLE link_gaps ENABLE ROW LEVEL SECURITY;
ALTER TABLE link_refused ENABLE ROW LEVEL SECURITY;
ALTER TABLE link_identity ENABLE ROW LEVEL SECURITY;
ALTER TABLE link_status ENABLE ROW LEVEL SECURITY;
ALTER TABLE link_event_ids ENABLE ROW LEVEL SECURITY;
ALTER TABLE link_node ENABLE ROW LEVEL SECURITY;

-- Readers see what waits and what was refused of their tenant, and nothing of the other tables.
ALTER FUNCTION sluice_bind_reader() RENAME TO sluice_bind_reader_devices;
CREATE FUNCTION sluice_bind_reader() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    bound text;
BEGIN
    PERFORM sluice_bind_reader_devices();
    GRANT SELECT (link) ON quarantine_events TO sluice_reader;
    FOREACH bound IN ARRAY ARRAY['link_outbox', 'link_refused'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', bound);
        EXECUTE format('DROP POLICY IF EXISTS sluice_reader_tenant ON %I', bound);
        EXECUTE format(
            'CREATE POLICY sluice_reader_tenant ON %I FOR SELECT TO sluice_reader
                USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))', bound);
        EXECUTE format('GRANT SELECT ON %I TO sluice_reader', bound);
    END LOOP;
END $$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') THEN
        PERFORM sluice_bind_reader();
    END IF;
END $$;

COMMENT ON COLUMN telemetry.link IS 'The link that the message came from; NULL: the local broker.';
COMMENT ON COLUMN quarantine_events.link IS 'The link that the message came from; NULL: the local broker.';
COMMENT ON TABLE link_state IS 'The links that the daemon knows.';
COMMENT ON COLUMN link_state.link IS 'The name of the link.';
COMMENT ON COLUMN link_state.lanes IS 'The number of lanes that the rows of link_outbox are spread over.';
COMMENT ON COLUMN link_state.refilled IS 'Messages that were read from telemetry since the gap began.';
COMMENT ON COLUMN link_state.lost IS 'Messages of earlier gaps that were no longer in telemetry, or never were.';
COMMENT ON COLUMN link_state.registered_at IS 'When the daemon first had the link.';
COMMENT ON TABLE link_outbox IS 'Accepted messages that wait to be sent over a link.';
COMMENT ON COLUMN link_outbox.id IS 'The order within a lane.';
COMMENT ON COLUMN link_outbox.link IS 'The link.';
COMMENT ON COLUMN link_outbox.lane IS 'The lane: all messages of a device have the same.';
COMMENT ON COLUMN link_outbox.tenant_id IS 'The tenant.';
COMMENT ON COLUMN link_outbox.device_id IS 'The device.';
COMMENT ON COLUMN link_outbox.msg_type IS 'The path of the local topic after the device.';
COMMENT ON COLUMN link_outbox.topic IS 'The topic at the other broker.';
COMMENT ON COLUMN link_outbox.mode IS 'How the message is encoded: binary, structured or raw.';
COMMENT ON COLUMN link_outbox.payload IS 'The payload, without its token.';
COMMENT ON COLUMN link_outbox.time IS 'The time of the telemetry row.';
COMMENT ON COLUMN link_outbox.received_at IS 'When Sluice received the message.';
COMMENT ON COLUMN link_outbox.message_id IS 'The message_id of the telemetry row.';
COMMENT ON COLUMN link_outbox.via IS 'The nodes that the message passed before this one.';
COMMENT ON COLUMN link_outbox.queued_at IS 'When the row was written.';
COMMENT ON TABLE link_counts IS 'What waits for a link: the sum over its rows.';
COMMENT ON COLUMN link_counts.link IS 'The link.';
COMMENT ON COLUMN link_counts.writer IS 'The client id of the replica that added, or sender for what was sent.';
COMMENT ON COLUMN link_counts.messages IS 'Messages added; negative: removed.';
COMMENT ON COLUMN link_counts.bytes IS 'Payload bytes added; negative: removed.';
COMMENT ON TABLE link_gaps IS 'Messages that are in telemetry and still have to be put into link_outbox.';
COMMENT ON COLUMN link_gaps.link IS 'The link.';
COMMENT ON COLUMN link_gaps.writer IS 'The client id of the replica that found the backlog full.';
COMMENT ON COLUMN link_gaps.from_at IS 'The earliest received_at of these messages.';
COMMENT ON COLUMN link_gaps.messages IS 'The number of these messages.';
COMMENT ON COLUMN link_gaps.lost IS 'Further messages that telemetry does not have: they are not sent.';
COMMENT ON COLUMN link_gaps.opened_at IS 'When the gap began.';
COMMENT ON TABLE link_refused IS 'Dead letters: messages that a link did not accept.';
COMMENT ON COLUMN link_refused.link IS 'The link.';
COMMENT ON COLUMN link_refused.id IS 'The id in link_outbox.';
COMMENT ON COLUMN link_refused.lane IS 'The lane.';
COMMENT ON COLUMN link_refused.tenant_id IS 'The tenant.';
COMMENT ON COLUMN link_refused.device_id IS 'The device.';
COMMENT ON COLUMN link_refused.msg_type IS 'The path of the local topic after the device.';
COMMENT ON COLUMN link_refused.topic IS 'The topic at the other broker.';
COMMENT ON COLUMN link_refused.mode IS 'How the message is encoded.';
COMMENT ON COLUMN link_refused.payload IS 'The payload, without its token.';
COMMENT ON COLUMN link_refused.time IS 'The time of the telemetry row.';
COMMENT ON COLUMN link_refused.received_at IS 'When Sluice received the message.';
COMMENT ON COLUMN link_refused.message_id IS 'The message_id of the telemetry row.';
COMMENT ON COLUMN link_refused.via IS 'The nodes that the message passed before this one.';
COMMENT ON COLUMN link_refused.queued_at IS 'When the row was written to link_outbox.';
COMMENT ON COLUMN link_refused.reason IS 'Why it was refused.';
COMMENT ON COLUMN link_refused.code IS 'The reason code of the other broker; NULL: Sluice refused it before sending.';
COMMENT ON COLUMN link_refused.detail IS 'The reason in words.';
COMMENT ON COLUMN link_refused.refused_at IS 'When it was refused.';
COMMENT ON TABLE link_event_ids IS 'The identities of stored events that came over links, for seven days.';
COMMENT ON COLUMN link_event_ids.tenant_id IS 'The tenant.';
COMMENT ON COLUMN link_event_ids.device_id IS 'The device.';
COMMENT ON COLUMN link_event_ids.message_id IS 'The hash of the source and the id of the event.';
COMMENT ON COLUMN link_event_ids.seen_at IS 'When the event was stored.';
COMMENT ON TABLE link_identity IS 'The guest identities of links at identity pools of Cognito.';
COMMENT ON COLUMN link_identity.link IS 'The link.';
COMMENT ON COLUMN link_identity.identity_pool_id IS 'The identity pool.';
COMMENT ON COLUMN link_identity.identity_id IS 'The identity.';
COMMENT ON COLUMN link_identity.created_at IS 'When the pool gave it.';
COMMENT ON TABLE link_status IS 'What the lanes of the links report.';
COMMENT ON COLUMN link_status.link IS 'The link.';
COMMENT ON COLUMN link_status.lane IS 'The lane.';
COMMENT ON COLUMN link_status.replica IS 'The client id of the replica that reports.';
COMMENT ON COLUMN link_status.state IS 'connecting, up, refused, throttled, flapping or standby.';
COMMENT ON COLUMN link_status.since IS 'Since when.';
COMMENT ON COLUMN link_status.detail IS 'What happened last.';
COMMENT ON COLUMN link_status.advice IS 'What to do.';
COMMENT ON COLUMN link_status.published IS 'Messages that the other broker has acknowledged since the start of the replica.';
COMMENT ON COLUMN link_status.in_flight IS 'Messages without an acknowledgement.';
COMMENT ON COLUMN link_status.reported_at IS 'When the lane reported.';
COMMENT ON TABLE link_node IS 'The name of this installation towards other brokers.';
COMMENT ON COLUMN link_node.single IS 'Always true: the table has one row.';
COMMENT ON COLUMN link_node.node IS 'The name.';
