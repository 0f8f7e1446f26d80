-- The average closing price of each category: what the highest bid for an auction is changes, and
-- the average with it.
CREATE TABLE answer (id BIGINT, final BIGINT) WITH (${SINK:-'connector' = 'blackhole'});

INSERT INTO answer
SELECT category, AVG(final)
FROM (
  SELECT a.category, MAX(b.price) AS final
  FROM auction AS a JOIN bid AS b
  ON a.id = b.auction AND b.`dateTime` BETWEEN a.`dateTime` AND a.expires
  GROUP BY a.id, a.category
) AS closed
GROUP BY category;
