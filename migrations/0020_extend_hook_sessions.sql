-- What the broker's questions need to know of other replicas and of a login's proof. Nullable columns only: no rewrite, no scan.

-- The user name a replica has at the broker: no login by a token may use it. Null: it has none, or runs an older release.
ALTER TABLE broker_sessions ADD COLUMN username text;

-- Which key of which issuer signed the token, as two hashes of 16 bytes: the login ends when the issuer withdraws the key.
-- Null: not proved by a token, or written by an older release.
ALTER TABLE access_sessions ADD COLUMN proved_by bytea;
