-- Describes each table and column, for psql (\d+), for database tools, and for docs/reference/tables.md, which is made from
-- these comments. It changes the catalog only: no table is rewritten or scanned, and writers are not blocked.

COMMENT ON TABLE tenants IS
    'Owners of devices. Each topic names its tenant.';
COMMENT ON COLUMN tenants.tenant_id IS 'Name of the tenant, as in topics: 1 to 64 characters of A-Z a-z 0-9 . _ : -';
COMMENT ON COLUMN tenants.name IS 'Display name; may be empty.';
COMMENT ON COLUMN tenants.status IS 'ACTIVE or SUSPENDED. Messages from devices of a suspended tenant are refused.';
COMMENT ON COLUMN tenants.created_at IS 'When the tenant was added.';

COMMENT ON TABLE devices IS
    'The devices that may publish. Changes by plain SQL act as fast as changes by command.';
COMMENT ON COLUMN devices.tenant_id IS 'Tenant that owns the device.';
COMMENT ON COLUMN devices.device_id IS
    'Name of the device, unique within its tenant: 1 to 64 characters of A-Z a-z 0-9 . _ : -';
COMMENT ON COLUMN devices.site_id IS
    'Site of the device. A message that names another site is refused. Null: any site is accepted.';
COMMENT ON COLUMN devices.status IS 'ACTIVE, INACTIVE or REVOKED. Only messages from ACTIVE devices are accepted.';
COMMENT ON COLUMN devices.provision_token_hash IS
    'SHA-256 of the device''s provisioning token, in lower-case hexadecimal. Null: the device has no token. Not visible to sluice_reader.';
COMMENT ON COLUMN devices.metadata IS 'Free JSON object for your own use; Sluice does not read it.';
COMMENT ON COLUMN devices.created_at IS 'When the device was registered.';
COMMENT ON COLUMN devices.updated_at IS 'When the row was changed last; set by a trigger.';

COMMENT ON TABLE device_certificates IS
    'Client certificates of devices. A row that is REVOKED stays so until the certificate expires.';
COMMENT ON COLUMN device_certificates.id IS 'Identifier of the certificate in commands and in the API.';
COMMENT ON COLUMN device_certificates.tenant_id IS 'Tenant of the device.';
COMMENT ON COLUMN device_certificates.device_id IS 'Device that the certificate was issued to.';
COMMENT ON COLUMN device_certificates.fingerprint_sha256 IS
    'SHA-256 of the certificate''s DER encoding, in lower-case hexadecimal.';
COMMENT ON COLUMN device_certificates.serial_number IS 'Serial number, in hexadecimal; unique for each issuer.';
COMMENT ON COLUMN device_certificates.common_name IS
    'Common name in the certificate''s subject. Mosquitto uses it as the user name.';
COMMENT ON COLUMN device_certificates.issuer IS 'Distinguished name of the authority that signed the certificate.';
COMMENT ON COLUMN device_certificates.status IS 'ACTIVE, REVOKED or EXPIRED.';
COMMENT ON COLUMN device_certificates.not_before IS 'Start of the certificate''s validity.';
COMMENT ON COLUMN device_certificates.not_after IS 'End of the certificate''s validity.';
COMMENT ON COLUMN device_certificates.retire_at IS
    'When Sluice revokes the certificate because a newer one has replaced it. Null: no end is set before not_after.';
COMMENT ON COLUMN device_certificates.replaces IS
    'Identifier of the certificate that this one replaces. Null: it replaces none.';
COMMENT ON COLUMN device_certificates.revoked_at IS 'When the certificate was revoked. Null: it is not revoked.';
COMMENT ON COLUMN device_certificates.revoked_reason IS
    'Reason for the revocation, as named by RFC 5280, such as keyCompromise.';
COMMENT ON COLUMN device_certificates.cert_pem IS 'The certificate in PEM form. Null: only its fingerprint was imported.';
COMMENT ON COLUMN device_certificates.created_at IS 'When the row was added.';

COMMENT ON TABLE certificate_serials IS
    'Serial numbers reserved before signing. A number without a row in device_certificates belongs to a certificate that was never handed out.';
COMMENT ON COLUMN certificate_serials.issuer IS 'Distinguished name of the authority.';
COMMENT ON COLUMN certificate_serials.serial_number IS 'Reserved serial number, in hexadecimal.';
COMMENT ON COLUMN certificate_serials.tenant_id IS 'Tenant of the device.';
COMMENT ON COLUMN certificate_serials.device_id IS 'Device that the certificate was meant for.';
COMMENT ON COLUMN certificate_serials.reserved_at IS 'When the number was reserved.';

COMMENT ON TABLE revoked_certificates IS
    'Revoked certificates until they expire. Triggers fill this table; the CRL is made from it.';
COMMENT ON COLUMN revoked_certificates.certificate_id IS
    'Identifier of the certificate in device_certificates; the row there may be gone.';
COMMENT ON COLUMN revoked_certificates.tenant_id IS 'Tenant of the device.';
COMMENT ON COLUMN revoked_certificates.device_id IS 'Device that the certificate was issued to.';
COMMENT ON COLUMN revoked_certificates.common_name IS 'Common name in the certificate''s subject.';
COMMENT ON COLUMN revoked_certificates.fingerprint_sha256 IS
    'SHA-256 of the certificate''s DER encoding, in lower-case hexadecimal.';
COMMENT ON COLUMN revoked_certificates.issuer IS 'Distinguished name of the authority that signed the certificate.';
COMMENT ON COLUMN revoked_certificates.serial_number IS 'Serial number, in hexadecimal, as the CRL lists it.';
COMMENT ON COLUMN revoked_certificates.not_after IS
    'End of the certificate''s validity. The revocation cannot be removed before it.';
COMMENT ON COLUMN revoked_certificates.revoked_at IS 'When the certificate was revoked.';
COMMENT ON COLUMN revoked_certificates.revoked_reason IS
    'Reason for the revocation, as named by RFC 5280. Null: unspecified.';

COMMENT ON TABLE certificate_revocations IS
    'Progress of each revocation: when each step was done, and which step failed last.';
COMMENT ON COLUMN certificate_revocations.certificate_id IS 'Identifier of the revoked certificate.';
COMMENT ON COLUMN certificate_revocations.noticed_at IS 'When the revocation was recorded (step: row).';
COMMENT ON COLUMN certificate_revocations.crl_number IS
    'Number of the first CRL that lists the certificate. Null: not listed yet.';
COMMENT ON COLUMN certificate_revocations.published_at IS 'When that CRL was published (step: crl).';
COMMENT ON COLUMN certificate_revocations.reloaded_at IS 'When the broker had read that CRL (step: reload).';
COMMENT ON COLUMN certificate_revocations.ended_at IS 'When the device''s live session was ended (step: session).';
COMMENT ON COLUMN certificate_revocations.proven_at IS
    'When the broker was seen to enforce the CRL (step: proof). The revocation is complete.';
COMMENT ON COLUMN certificate_revocations.failed_link IS
    'Step that failed last: published, reloaded, ended or proven. Null: none failed.';
COMMENT ON COLUMN certificate_revocations.failure IS 'Why that step failed.';
COMMENT ON COLUMN certificate_revocations.failed_at IS 'When that step failed.';

COMMENT ON TABLE crl_state IS
    'The CRL that was published last, and whether the broker enforces it. One row.';
COMMENT ON COLUMN crl_state.single IS 'Always true: keeps the table at one row.';
COMMENT ON COLUMN crl_state.issuer IS 'Distinguished name of the authority that signed the CRL.';
COMMENT ON COLUMN crl_state.crl_number IS 'Number of the CRL; each new CRL has a higher one.';
COMMENT ON COLUMN crl_state.der IS 'The CRL, DER encoded.';
COMMENT ON COLUMN crl_state.entries IS 'Number of certificates on the CRL.';
COMMENT ON COLUMN crl_state.next_update IS 'Date by which the CRL names its successor; Sluice publishes one earlier.';
COMMENT ON COLUMN crl_state.published_at IS 'When the CRL was published.';
COMMENT ON COLUMN crl_state.requested_at IS
    'When a new CRL was requested although nothing has changed. Null: no request is open.';
COMMENT ON COLUMN crl_state.enforced IS 'Whether the broker enforces the CRL. Null: not known yet.';
COMMENT ON COLUMN crl_state.finding IS 'What is wrong. Null: nothing.';
COMMENT ON COLUMN crl_state.looked_at IS 'When enforcement was checked last.';

COMMENT ON TABLE crl_canaries IS
    'Sluice''s own test certificates, revoked on purpose. A broker that refuses the newest one has read the newest CRL.';
COMMENT ON COLUMN crl_canaries.issuer IS 'Distinguished name of the authority.';
COMMENT ON COLUMN crl_canaries.serial_number IS 'Serial number of the test certificate, in hexadecimal.';
COMMENT ON COLUMN crl_canaries.revoked_at IS 'When the test certificate was put on the CRL.';
COMMENT ON COLUMN crl_canaries.not_after IS 'End of the test certificate''s validity.';

COMMENT ON TABLE telemetry IS
    'Accepted messages. Partitioned by day (UTC) on time; old partitions are dropped after TELEMETRY_RETENTION_DAYS.';
COMMENT ON COLUMN telemetry.time IS
    'Timestamp of the message (ts in the payload), else the time at which Sluice received it.';
COMMENT ON COLUMN telemetry.received_at IS 'When Sluice received the message.';
COMMENT ON COLUMN telemetry.tenant_id IS 'Tenant of the device.';
COMMENT ON COLUMN telemetry.device_id IS 'Device that published the message.';
COMMENT ON COLUMN telemetry.site_id IS 'Site of the device. Null: neither the registry nor the message names one.';
COMMENT ON COLUMN telemetry.msg_type IS 'Type of the message: the part of the topic after the device.';
COMMENT ON COLUMN telemetry.seq IS 'Sequence number that the device sent. Null: none.';
COMMENT ON COLUMN telemetry.metrics IS 'Measured values, as a JSON object.';
COMMENT ON COLUMN telemetry.extra IS 'Other fields of the payload, as a JSON object. Null: none.';
COMMENT ON COLUMN telemetry.message_id IS
    '128-bit hash of topic and payload. With tenant_id, device_id and time it identifies the message.';

COMMENT ON TABLE quarantine_events IS
    'Refused messages, with the reason. Partitioned by day; old partitions are dropped after QUARANTINE_RETENTION_DAYS.';
COMMENT ON COLUMN quarantine_events.id IS 'Identifier of the event in commands and in the API.';
COMMENT ON COLUMN quarantine_events.quarantined_at IS 'When the event was stored.';
COMMENT ON COLUMN quarantine_events.received_at IS 'When Sluice received the message.';
COMMENT ON COLUMN quarantine_events.event_ts IS 'Timestamp in the payload. Null: none could be read.';
COMMENT ON COLUMN quarantine_events.topic IS 'Topic of the message.';
COMMENT ON COLUMN quarantine_events.tenant_id IS 'Tenant in the topic. Null: the topic could not be read.';
COMMENT ON COLUMN quarantine_events.device_id IS 'Device in the topic. Null: the topic could not be read.';
COMMENT ON COLUMN quarantine_events.site_id IS 'Site of the device, else the site in the payload. Null: neither is known.';
COMMENT ON COLUMN quarantine_events.msg_type IS 'Type of the message in the topic. Null: the topic could not be read.';
COMMENT ON COLUMN quarantine_events.reason IS
    'Why the message was refused, such as UNREGISTERED_DEVICE; see the list of reasons.';
COMMENT ON COLUMN quarantine_events.detail IS 'The same for this message, in one sentence.';
COMMENT ON COLUMN quarantine_events.payload IS
    'Payload as bytes, with the provisioning token removed. May be shortened; detail says so.';
COMMENT ON COLUMN quarantine_events.token_sha256 IS
    'SHA-256 of the token in the payload, in lower-case hexadecimal. Null: none. Not visible to sluice_reader.';
COMMENT ON COLUMN quarantine_events.message_id IS '128-bit hash of topic and payload.';
COMMENT ON COLUMN quarantine_events.replayed_at IS 'When a replay accepted the message. Null: not replayed.';

COMMENT ON TABLE quarantine_counters_minute IS
    'Exact number of refused messages for each minute, tenant and reason, also where a flood was sampled.';
COMMENT ON COLUMN quarantine_counters_minute.bucket_minute IS 'Start of the minute.';
COMMENT ON COLUMN quarantine_counters_minute.tenant_id IS 'Tenant in the topic; empty where the topic names none.';
COMMENT ON COLUMN quarantine_counters_minute.reason IS 'Why the messages were refused.';
COMMENT ON COLUMN quarantine_counters_minute.cnt IS 'Number of refused messages.';

COMMENT ON TABLE quarantine_unkept IS
    'Identifiers of recent refused messages that were counted but not stored, so that a redelivery is not counted again.';
COMMENT ON COLUMN quarantine_unkept.client_id IS 'MQTT client id of the Sluice that received the messages.';
COMMENT ON COLUMN quarantine_unkept.received_at IS 'When the batch was received.';
COMMENT ON COLUMN quarantine_unkept.message_ids IS 'Identifiers of the messages.';

COMMENT ON TABLE device_state IS
    'Latest state of each device.';
COMMENT ON COLUMN device_state.tenant_id IS 'Tenant of the device.';
COMMENT ON COLUMN device_state.device_id IS 'The device.';
COMMENT ON COLUMN device_state.last_seen_at IS
    'When the last accepted message of the device was received; written with a delay of up to 20 s.';
COMMENT ON COLUMN device_state.last_telemetry_at IS
    'When the last telemetry message of the device was received; written with the same delay.';
COMMENT ON COLUMN device_state.reported IS 'State that the device reported last, as JSON. Null: none.';
COMMENT ON COLUMN device_state.reported_version IS 'Version of the reported state. Null: the device sent none.';
COMMENT ON COLUMN device_state.reported_at IS 'When the reported state was received.';
COMMENT ON COLUMN device_state.desired IS 'State that the device should take, as JSON. Null: none.';
COMMENT ON COLUMN device_state.desired_version IS 'Version of the desired state.';

COMMENT ON TABLE device_commands IS
    'Commands for devices, and their acknowledgements.';
COMMENT ON COLUMN device_commands.command_id IS 'Identifier of the command, which the device repeats in its acknowledgement.';
COMMENT ON COLUMN device_commands.tenant_id IS 'Tenant of the device.';
COMMENT ON COLUMN device_commands.device_id IS 'Device that the command is for.';
COMMENT ON COLUMN device_commands.command_type IS 'Type of the command.';
COMMENT ON COLUMN device_commands.params IS 'Parameters of the command, as JSON.';
COMMENT ON COLUMN device_commands.status IS 'PENDING, PUBLISHED, ACKNOWLEDGED or EXPIRED.';
COMMENT ON COLUMN device_commands.created_at IS 'When the command was created.';
COMMENT ON COLUMN device_commands.published_at IS 'When the command was published. Null: not yet.';
COMMENT ON COLUMN device_commands.acked_at IS 'When the device acknowledged the command. Null: not yet.';
COMMENT ON COLUMN device_commands.ack_details IS 'Content of the acknowledgement, as JSON. Null: none.';
COMMENT ON COLUMN device_commands.expires_at IS 'When the command expires. Null: never.';

COMMENT ON TABLE audit_log IS
    'Who changed what by command or by the API. Rows are only added.';
COMMENT ON COLUMN audit_log.id IS 'Identifier of the entry.';
COMMENT ON COLUMN audit_log.at IS 'When the change was made.';
COMMENT ON COLUMN audit_log.actor IS 'Who made the change.';
COMMENT ON COLUMN audit_log.action IS 'What was done, such as device.add.';
COMMENT ON COLUMN audit_log.tenant_id IS 'Tenant that was changed. Null: none.';
COMMENT ON COLUMN audit_log.device_id IS 'Device that was changed. Null: none.';
COMMENT ON COLUMN audit_log.detail IS 'More about the change, as a JSON object.';

COMMENT ON TABLE guest_credentials IS
    'Credentials of guests, deleted after they have expired. Only a hash of each token is kept.';
COMMENT ON COLUMN guest_credentials.guest_id IS 'Identifier of the guest; guest-<guest_id without hyphens> is the user name.';
COMMENT ON COLUMN guest_credentials.token_sha256 IS 'SHA-256 of the token.';
COMMENT ON COLUMN guest_credentials.issued_at IS 'When the credential was issued.';
COMMENT ON COLUMN guest_credentials.expires_at IS 'When the credential expires.';

COMMENT ON TABLE access_sessions IS
    'Logins at the broker that were proven by a token. Replicas share them; no token is stored here.';
COMMENT ON COLUMN access_sessions.username IS 'User name of the login.';
COMMENT ON COLUMN access_sessions.client_id IS 'MQTT client id of the login.';
COMMENT ON COLUMN access_sessions.kind IS 'service, user or guest.';
COMMENT ON COLUMN access_sessions.subject_id IS 'Name of the client in the access policy.';
COMMENT ON COLUMN access_sessions.groups IS 'Groups in the token, as a JSON array.';
COMMENT ON COLUMN access_sessions.scopes IS 'Scopes in the token, as a JSON array.';
COMMENT ON COLUMN access_sessions.logged_in_at IS 'When the client logged in.';
COMMENT ON COLUMN access_sessions.expires_at IS 'When the token expires.';
COMMENT ON COLUMN access_sessions.proved_by IS
    'Hashes of the issuer and of the key that signed the token. Null: no token proved the login.';

COMMENT ON TABLE broker_sessions IS
    'For each MQTT_CLIENT_ID: what its session at the broker is subscribed to.';
COMMENT ON COLUMN broker_sessions.client_id IS 'MQTT client id of the Sluice.';
COMMENT ON COLUMN broker_sessions.broker IS 'Broker that it was subscribed at last, as host:port. Null: never subscribed.';
COMMENT ON COLUMN broker_sessions.subscribed_at IS 'When it subscribed there. Null: never subscribed.';
COMMENT ON COLUMN broker_sessions.filters IS 'Topic filters that the session may be subscribed to.';
COMMENT ON COLUMN broker_sessions.username IS
    'User name of this Sluice at the broker; no token may log in under it. Null: none.';

COMMENT ON TABLE broker_acl_state IS
    'The broker''s access rules that were written last. One row.';
COMMENT ON COLUMN broker_acl_state.single IS 'Always true: keeps the table at one row.';
COMMENT ON COLUMN broker_acl_state.mode IS 'Form of the rules: patterns or rows. Null: none were written yet.';
COMMENT ON COLUMN broker_acl_state.broker_version IS 'Version that the broker states. Null: not known.';
COMMENT ON COLUMN broker_acl_state.digest IS 'SHA-256 of the file.';
COMMENT ON COLUMN broker_acl_state.generated IS 'Number of lines that Sluice generated.';
COMMENT ON COLUMN broker_acl_state.written_at IS 'When the file was written.';
COMMENT ON COLUMN broker_acl_state.notified_at IS 'When the broker was notified to read it.';
COMMENT ON COLUMN broker_acl_state.finding IS 'What is wrong. Null: nothing.';
COMMENT ON COLUMN broker_acl_state.looked_at IS 'When the file was checked last.';

COMMENT ON TABLE retention_rounds IS
    'The day for which retention was applied last. One row.';
COMMENT ON COLUMN retention_rounds.single IS 'Always true: keeps the table at one row.';
COMMENT ON COLUMN retention_rounds.day IS 'Day (UTC) for which retention was applied last.';
COMMENT ON COLUMN retention_rounds.ran_at IS 'When that was.';

COMMENT ON SEQUENCE crl_numbers IS 'Numbers of CRLs.';
