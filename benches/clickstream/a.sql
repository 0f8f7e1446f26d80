-- A: purchases only.
CREATE TABLE answer (event_id BIGINT, user_id STRING, price DOUBLE) WITH (
  'connector' = 'filesystem',
  'path' = '${OUTPUT}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

INSERT INTO answer
SELECT event_id, user_id, price FROM events WHERE event_type = 'purchase';
