-- The day retention was last carried out for. A round that would go on from there by many days at once, after a long absence
-- or under a wrong clock, deletes nothing until somebody confirms it (`sluice retention`). One row.
CREATE TABLE retention_rounds (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    day    date NOT NULL,
    ran_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A tenant inserted by plain SQL needs no name.
ALTER TABLE tenants ALTER COLUMN name SET DEFAULT '';
