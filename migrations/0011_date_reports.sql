-- When the reported state was received: a report without a version that is older, such as one replayed from quarantine, must
-- not take the place of a newer one.
ALTER TABLE device_state ADD COLUMN reported_at timestamptz;
