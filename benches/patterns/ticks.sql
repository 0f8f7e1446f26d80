-- Prices of shares. INPUT: a file of JSON lines.
CREATE TABLE ticks (
  id   BIGINT,
  sym  STRING,
  kind STRING,
  px   INT,
  vol  INT,
  ts   TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH (
  'connector' = 'filesystem',
  'path' = '${INPUT}',
  'format' = 'json'
);
