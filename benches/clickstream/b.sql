-- B: for each product and ten seconds, how many events, and the sum of prices.
CREATE TABLE answer (ws TIMESTAMP_LTZ(3), product_id BIGINT, n BIGINT, s DOUBLE) WITH (
  'connector' = 'filesystem',
  'path' = '${OUTPUT}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

INSERT INTO answer
SELECT window_start, product_id, COUNT(*), SUM(price)
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, product_id;
