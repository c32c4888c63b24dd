-- The audit log is read by its newest entries, of all or of one author, action or device.

CREATE INDEX audit_log_time ON audit_log (at, id);
CREATE INDEX audit_log_actor ON audit_log (actor, at, id);
CREATE INDEX audit_log_action ON audit_log (action, at, id);
CREATE INDEX audit_log_device ON audit_log (device_id, at, id);
