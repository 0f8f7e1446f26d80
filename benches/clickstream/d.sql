-- D: each user's sessions, which end after 30 seconds of silence.
CREATE TABLE answer (
  user_id STRING, `first` TIMESTAMP_LTZ(3), `last` TIMESTAMP_LTZ(3), n BIGINT, s DOUBLE
) WITH (
  'connector' = 'filesystem',
  'path' = '${OUTPUT}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

INSERT INTO answer
SELECT user_id, MIN(ts), MAX(ts), COUNT(*), SUM(price)
FROM TABLE(SESSION(TABLE events PARTITION BY user_id, DESCRIPTOR(ts), INTERVAL '30' SECOND))
GROUP BY window_start, window_end, user_id;
