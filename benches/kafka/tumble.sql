-- From topic to topic: for each product and minute, how many events.
SET 'table.local-time-zone' = 'UTC';

CREATE TABLE events (
  product_id BIGINT,
  ts         TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS}',
  'topic' = '${INPUT}',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = 'latest-offset',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE counts (ws TIMESTAMP_LTZ(3), product_id BIGINT, n BIGINT) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS}',
  'topic' = '${OUTPUT}',
  'sink.delivery-guarantee' = '${GUARANTEE}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

INSERT INTO counts
SELECT window_start, product_id, COUNT(*)
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, product_id;
