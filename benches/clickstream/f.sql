-- F: for each user, count and sum at any moment: a changelog. All its columns are built; where it
-- goes is up to SINK.
CREATE TABLE answer (user_id STRING, n BIGINT, s DOUBLE) WITH (
  ${SINK:-'connector' = 'blackhole'}
);

INSERT INTO answer
SELECT user_id, COUNT(*), SUM(price) FROM events GROUP BY user_id;
