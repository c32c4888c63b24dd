-- The audit log is searched by beginnings, too: cli:*, certificate.*, pump-*. Each of these indexes serves a whole name, with the
-- newest entries first, and a beginning; those of 0034 serve only the former.

CREATE INDEX audit_log_actors ON audit_log (actor text_pattern_ops, at, id);
CREATE INDEX audit_log_actions ON audit_log (action text_pattern_ops, at, id);
CREATE INDEX audit_log_devices ON audit_log (device_id text_pattern_ops, at, id);
DROP INDEX audit_log_actor;
DROP INDEX audit_log_action;
DROP INDEX audit_log_device;
