-- People who use the console and the API by their own name, their sessions, and the codes of one-time links. Of a token, a
-- session and a code only the SHA-256 is kept. The rows belong to the installation, not to a tenant: a reader of a tenant sees none.

CREATE TABLE operators (
    name          text PRIMARY KEY CHECK (char_length(name) BETWEEN 1 AND 64),
    role          text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    tenant_id     text REFERENCES tenants ON DELETE CASCADE,
    token_sha256  bytea NOT NULL UNIQUE CHECK (octet_length(token_sha256) = 32),
    created_at    timestamptz NOT NULL DEFAULT now(),
    token_made_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE console_sessions (
    session_sha256 bytea PRIMARY KEY CHECK (octet_length(session_sha256) = 32),
    session_id     uuid NOT NULL UNIQUE,
    name           text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 128),
    role           text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    tenant_id      text REFERENCES tenants ON DELETE CASCADE,
    method         text NOT NULL CHECK (method IN ('admin-token', 'operator', 'link', 'oidc')),
    operator       text REFERENCES operators ON DELETE CASCADE,
    proof          bytea CHECK (octet_length(proof) = 32),
    created_at     timestamptz NOT NULL,
    seen_at        timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL CHECK (isfinite(expires_at))
);
CREATE INDEX console_sessions_name ON console_sessions (name, created_at);
CREATE INDEX console_sessions_operator ON console_sessions (operator);
CREATE INDEX console_sessions_ends ON console_sessions (expires_at);

CREATE TABLE console_login_codes (
    code_sha256 bytea PRIMARY KEY CHECK (octet_length(code_sha256) = 32),
    name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 128),
    role        text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    tenant_id   text REFERENCES tenants ON DELETE CASCADE,
    expires_at  timestamptz NOT NULL CHECK (isfinite(expires_at))
);

ALTER TABLE operators ENABLE ROW LEVEL SECURITY;
ALTER TABLE console_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE console_login_codes ENABLE ROW LEVEL SECURITY;

COMMENT ON TABLE operators IS 'People and programs that use the console and the API by their own name.';
COMMENT ON COLUMN operators.name IS 'Name, as the audit log shows it.';
COMMENT ON COLUMN operators.role IS 'What the operator may do: viewer, operator or admin.';
COMMENT ON COLUMN operators.tenant_id IS 'The only tenant that the operator may read and change. Null: all tenants.';
COMMENT ON COLUMN operators.token_sha256 IS 'SHA-256 of the token. The token itself is never stored.';
COMMENT ON COLUMN operators.created_at IS 'When the operator was added.';
COMMENT ON COLUMN operators.token_made_at IS 'When the token was made.';
COMMENT ON TABLE console_sessions IS 'Sessions of the console, shared by all replicas.';
COMMENT ON COLUMN console_sessions.session_sha256 IS 'SHA-256 of the value of the cookie. The value itself is never stored.';
COMMENT ON COLUMN console_sessions.session_id IS 'Identifier of the session; it is no secret.';
COMMENT ON COLUMN console_sessions.name IS 'Name of the person, as the audit log shows it after console:.';
COMMENT ON COLUMN console_sessions.role IS 'What the person may do: viewer, operator or admin.';
COMMENT ON COLUMN console_sessions.tenant_id IS 'The only tenant that the person may read and change. Null: all tenants.';
COMMENT ON COLUMN console_sessions.method IS 'How the person signed in: admin-token, operator, link or oidc.';
COMMENT ON COLUMN console_sessions.operator IS
    'The operator whose token opened the session. The session ends when the operator or the token changes. Null: none.';
COMMENT ON COLUMN console_sessions.proof IS
    'SHA-256 of the value of the cookie and ADMIN_TOKEN, if ADMIN_TOKEN opened the session: a new ADMIN_TOKEN ends the session.';
COMMENT ON COLUMN console_sessions.created_at IS 'When the person signed in.';
COMMENT ON COLUMN console_sessions.seen_at IS 'When a request used the session, at most a minute late.';
COMMENT ON COLUMN console_sessions.expires_at IS 'When the session expires.';
COMMENT ON TABLE console_login_codes IS 'Codes of the one-time links that `sluice console` prints. A used code is deleted.';
COMMENT ON COLUMN console_login_codes.code_sha256 IS 'SHA-256 of the code. The code itself is never stored.';
COMMENT ON COLUMN console_login_codes.name IS 'Name of the person whom the link signs in.';
COMMENT ON COLUMN console_login_codes.role IS 'What the person may do: viewer, operator or admin.';
COMMENT ON COLUMN console_login_codes.tenant_id IS 'The only tenant that the person may read and change. Null: all tenants.';
COMMENT ON COLUMN console_login_codes.expires_at IS 'When the code expires.';
