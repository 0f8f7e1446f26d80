-- An updating count of each key. Each row says when the newest event in it was created.
CREATE TABLE events (k BIGINT, created BIGINT) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS}',
  'topic' = '${INPUT}',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json'
);

CREATE TABLE counts (k BIGINT, n BIGINT, created BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS}',
  'properties.linger.ms' = '${LINGER_MS}',
  'topic' = '${OUTPUT}',
  'sink.delivery-guarantee' = '${GUARANTEE}',
  'key.format' = 'json',
  'value.format' = 'json'
);

INSERT INTO counts SELECT k, COUNT(*), MAX(created) FROM events GROUP BY k;
