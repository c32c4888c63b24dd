-- A registry that was restored from a backup lacks changes that its cells have. The newest change of a copy shows that only until the
-- registry has a newer one, so the cell notes what it saw.

ALTER TABLE cell ADD COLUMN older_registry text;

COMMENT ON COLUMN cell.older_registry IS
    'What showed that the registry is older than this copy, such as a restored backup. Null: nothing did. A join clears it.';
