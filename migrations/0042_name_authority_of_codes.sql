-- The certificates of a code may be those of a cell's authority.

ALTER TABLE enrolment_codes ADD COLUMN authority text CHECK (authority ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$');

COMMENT ON COLUMN enrolment_codes.authority IS
    'Name in CELL_AUTHORITIES_DIR of the authority that signs the certificates. Null: that of DEVICE_CA_CERT_PATH.';
