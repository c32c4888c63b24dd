-- One row or more in each table of the schema of release 0.1.0, whose last migration is the number in this line: 44
-- A later release must read them. This file stays as it is; each release adds one of its own.

INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'), ('beta', 'Beta');
UPDATE tenants SET status = 'SUSPENDED' WHERE tenant_id = 'beta';
INSERT INTO devices (tenant_id, device_id, site_id, provision_token_hash, metadata) VALUES
    ('acme', 'pump-1', 'north', encode(sha256('t0ken'), 'hex'), '{"model": "p7"}'),
    ('acme', 'pump-2', NULL, NULL, '{}'),
    ('beta', 'old', NULL, NULL, '{}');
UPDATE devices SET status = 'REVOKED' WHERE device_id = 'old';
INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, not_before, not_after,
        retire_at, replaces, cert_pem, public_key_sha256) VALUES
    ('01900000-0000-7000-8000-000000000001', 'acme', 'pump-1', repeat('1', 64), '1001', 'acme/device/pump-1', 'CN=ca',
        now() - interval '1 day', now() + interval '300 days', now() + interval '1 day', NULL, '-----BEGIN CERTIFICATE-----', repeat('a', 64)),
    ('01900000-0000-7000-8000-000000000002', 'acme', 'pump-1', repeat('2', 64), '1002', 'acme/device/pump-1', 'CN=ca',
        now() - interval '1 hour', now() + interval '365 days', NULL, '01900000-0000-7000-8000-000000000001', NULL, repeat('b', 64)),
    ('01900000-0000-7000-8000-000000000003', 'acme', 'pump-2', repeat('3', 64), '1003', 'acme/device/pump-2', 'CN=ca',
        now() - interval '1 day', now() + interval '300 days', NULL, NULL, NULL, '');
-- Its trigger fills revoked_certificates and certificate_revocations.
UPDATE device_certificates SET status = 'REVOKED', revoked_at = now(), revoked_reason = 'keyCompromise' WHERE device_id = 'pump-2';
UPDATE certificate_revocations SET crl_number = 7, published_at = now();
INSERT INTO certificate_serials (issuer, serial_number, tenant_id, device_id) VALUES ('CN=ca', '1001', 'acme', 'pump-1');
INSERT INTO crl_canaries (issuer, serial_number, not_after) VALUES ('CN=ca', '9001', now() + interval '1 day');
UPDATE crl_state SET issuer = 'CN=ca', crl_number = 7, der = '\x3000', entries = 1, next_update = now() + interval '7 days',
    published_at = now(), enforced = true, looked_at = now();
UPDATE broker_acl_state SET mode = 'rows', broker_version = '2.1.2', digest = sha256('rules'), generated = 3, written_at = now();
INSERT INTO enrolment_codes (tenant_id, code_id, code_sha256, device_pattern, site_id, adds_devices, max_uses, uses, expires_at, authority)
    VALUES ('acme', '01900000-0000-7000-8000-000000000011', sha256('code'), 'pump-*', 'north', true, 10, 1, now() + interval '1 day', 'north');
INSERT INTO enrolment_uses (tenant_id, code_id, device_id, public_key_sha256, certificate_id)
    VALUES ('acme', '01900000-0000-7000-8000-000000000011', 'pump-1', repeat('a', 64), '01900000-0000-7000-8000-000000000001');

INSERT INTO telemetry (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link, certificate_id)
    VALUES (now(), now(), 'acme', 'pump-1', 'north', 'telemetry', 1, '{"t": 21.5}', '{"unit": "C"}', gen_random_uuid(), NULL,
            '01900000-0000-7000-8000-000000000001'),
           (now(), now(), 'acme', 'pump-1', NULL, 'state', NULL, '{}', NULL, gen_random_uuid(), 'azure', NULL);
INSERT INTO quarantine_events (id, received_at, topic, tenant_id, device_id, msg_type, reason, detail, payload, message_id, publisher)
    VALUES (gen_random_uuid(), now(), 'tenant/acme/device/pump-9/telemetry', 'acme', 'pump-9', 'telemetry', 'UNREGISTERED_DEVICE',
            'the device is not registered', '{}', gen_random_uuid(), 'gate');
INSERT INTO quarantine_counters_minute VALUES (date_trunc('minute', now()), 'acme', 'UNREGISTERED_DEVICE', 1);
INSERT INTO quarantine_unkept (client_id, received_at, message_ids) VALUES ('sluice', now(), ARRAY[gen_random_uuid()]);
INSERT INTO quarantine_replays (tenant_id, replay_id, stage, status, selection, until_at, created_by, ended_at, total, done)
    VALUES ('acme', '01900000-0000-7000-8000-000000000021', 'DRY_RUN', 'DONE', '{}', now(), 'ops', now(), 1, 1);
INSERT INTO device_state (tenant_id, device_id, last_seen_at, reported, reported_version, desired, desired_version, reported_at, desired_at)
    VALUES ('acme', 'pump-1', now(), '{"on": true}', 4, '{"on": false}', 5, now(), now());
INSERT INTO device_commands (command_id, tenant_id, device_id, command_type, params, status, expires_at, batch_id)
    VALUES (gen_random_uuid(), 'acme', 'pump-1', 'reboot', '{"delay": 3}', 'PENDING', now() + interval '1 hour', gen_random_uuid()),
           (gen_random_uuid(), 'acme', 'pump-1', 'open', '{}', 'ACKNOWLEDGED', now() + interval '1 hour', NULL);
INSERT INTO device_pushes (tenant_id, device_id, kind, payload) VALUES ('acme', 'pump-1', 'certificate', '{"a": 1}');

INSERT INTO access_sessions (username, client_id, kind, subject_id, groups, scopes, logged_in_at, expires_at, proved_by)
    VALUES ('alice', 'c1', 'user', 'alice', '["viewers"]', '[]', now(), now() + interval '1 hour', sha256('key'));
INSERT INTO operators (name, role, tenant_id, token_sha256) VALUES ('ops', 'operator', 'acme', sha256('ops')), ('root', 'admin', NULL, sha256('root'));
INSERT INTO console_sessions (session_sha256, session_id, name, role, tenant_id, method, operator, proof, created_at, seen_at, expires_at)
    VALUES (sha256('session'), gen_random_uuid(), 'ops', 'operator', 'acme', 'operator', 'ops', sha256('proof'), now(), now(), now() + interval '1 hour');
INSERT INTO console_login_codes VALUES (sha256('login'), 'ops', 'viewer', 'acme', now() + interval '1 hour');
INSERT INTO guest_credentials (guest_id, token_sha256, expires_at) VALUES (gen_random_uuid(), sha256('guest'), now() + interval '1 hour');
INSERT INTO audit_log (actor, action, tenant_id, device_id, detail) VALUES ('ops', 'device.add', 'acme', 'pump-1', '{"site": "north"}');

INSERT INTO broker_sessions (client_id, broker, subscribed_at, filters, username, seen_at)
    VALUES ('sluice', 'boot-1', now(), ARRAY['tenant/+/device/+/#'], 'sluice', now());
INSERT INTO cell VALUES (true, 'north', 'host=registry', 'id-1', 'sluice_cell_north', now(), now());
INSERT INTO cells (cell_id, slot, joined_at, seen_at) VALUES ('north', 'sluice_cell_north', now(), now());
INSERT INTO retention_rounds (day, ran_at) VALUES (current_date, now()) ON CONFLICT DO NOTHING;

INSERT INTO link_state (link, lanes, subscribed) VALUES ('azure', 1, ARRAY['down/#']);
INSERT INTO link_status (link, lane, replica, state, since, published, in_flight, reported_at)
    VALUES ('azure', 0, 'sluice', 'connected', now(), 5, 0, now());
INSERT INTO link_outbox (link, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, message_id, via)
    VALUES ('azure', 0, 'acme', 'pump-1', 'telemetry', 'up/pump-1', 'binary', '{}', now(), now(), gen_random_uuid(), ARRAY['one']);
INSERT INTO link_counts VALUES ('azure', 'sluice', 1, 111);
INSERT INTO link_gaps (link, writer, from_at, messages) VALUES ('azure', 'other', now(), 2);
INSERT INTO link_refused (link, id, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, message_id, queued_at, reason,
        detail, refused_at) VALUES ('azure', 1, 0, 'acme', 'pump-1', 'telemetry', 'up/pump-1', 'raw', '{}', now(), now(), gen_random_uuid(),
        now(), 'REFUSED', 'the broker refused it', now());
INSERT INTO link_event_ids (tenant_id, device_id, message_id) VALUES ('acme', 'pump-1', gen_random_uuid());
INSERT INTO link_identity (link, identity_pool_id, identity_id) VALUES ('aws', 'pool', 'identity');
