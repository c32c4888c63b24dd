-- Refused messages that carry a time of their own and that were counted and not kept, because their kind flooded: the latest
-- of each client id, one row for each batch. One of them that the broker delivers again is not counted again.
CREATE TABLE quarantine_unkept (
    client_id   text NOT NULL,
    -- When the batch was received.
    received_at timestamptz NOT NULL,
    message_ids uuid[] NOT NULL
);

CREATE INDEX quarantine_unkept_client ON quarantine_unkept (client_id, received_at);
