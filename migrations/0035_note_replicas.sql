-- Each daemon notes that it runs, so that the console can tell a replica that is gone.
ALTER TABLE broker_sessions ADD COLUMN seen_at timestamptz;
COMMENT ON COLUMN broker_sessions.seen_at IS
    'When the Sluice last noted that it runs. Null: a version that does not note it.';
