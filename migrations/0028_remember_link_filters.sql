-- A session that another broker keeps has filters that the links file may no longer have: the link unsubscribes from them.

ALTER TABLE link_state ADD COLUMN subscribed text[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN link_state.subscribed IS 'The filters that the session of the link at the other broker may have.';
