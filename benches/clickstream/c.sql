-- C: for each user, how many events in the last minute, every ten seconds.
CREATE TABLE answer (ws TIMESTAMP_LTZ(3), user_id STRING, n BIGINT) WITH (
  'connector' = 'filesystem',
  'path' = '${OUTPUT}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

INSERT INTO answer
SELECT window_start, user_id, COUNT(*)
FROM TABLE(HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '60' SECOND))
GROUP BY window_start, window_end, user_id;
