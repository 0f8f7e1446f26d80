-- The events of all six queries. INPUT: a file of JSON lines. OUTPUT: a directory.
SET 'table.local-time-zone' = 'UTC';

CREATE TABLE events (
  event_id     BIGINT,
  user_id      STRING,
  session_hint INT,
  event_type   STRING,
  page         STRING,
  product_id   BIGINT,
  price        DOUBLE,
  ts           TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH (
  'connector' = 'filesystem',
  'path' = '${INPUT}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);
