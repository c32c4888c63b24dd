-- A refused message that the broker delivers again, and that carries a time of its own, is found by its name and not kept twice.
CREATE INDEX quarantine_events_message ON quarantine_events (message_id) WHERE event_ts IS NOT NULL;
