-- What a lane of a link sends, over about the last minute.

ALTER TABLE link_status ADD COLUMN sent_per_second double precision;
ALTER TABLE link_status ADD COLUMN sent_since timestamptz;

COMMENT ON COLUMN link_status.sent_per_second IS 'Messages that the other broker acknowledged in a second, on average since sent_since.';
COMMENT ON COLUMN link_status.sent_since IS 'The begin of the period of sent_per_second, about a minute before reported_at.';
