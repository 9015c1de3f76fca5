// Parts of statements that append to the event log.
export const EVENT_COLUMNS = "epoch, txid, type, subject, data, time, request_id, traceparent";
export const EVENT_PLACE =
  "COALESCE((SELECT max(value) FROM events_feedepoch), 1), pg_current_xact_id()::text::bigint";
