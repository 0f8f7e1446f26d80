-- E: the ten products with the most events in every ten seconds.
CREATE TABLE answer (ws TIMESTAMP_LTZ(3), product_id BIGINT, n BIGINT) WITH (
  'connector' = 'filesystem',
  'path' = '${OUTPUT}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

INSERT INTO answer
SELECT window_start, product_id, n FROM (
  SELECT *,
         ROW_NUMBER() OVER (
           PARTITION BY window_start, window_end ORDER BY n DESC, product_id
         ) AS place
  FROM (
    SELECT window_start, window_end, product_id, COUNT(*) AS n
    FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end, product_id
  )
)
WHERE place <= 10;
