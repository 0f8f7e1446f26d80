-- Each auction's ten highest bids, with their ranks.
CREATE TABLE answer (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING,
  `dateTime` TIMESTAMP(3), extra STRING, place BIGINT
) WITH (${SINK:-'connector' = 'blackhole'});

INSERT INTO answer
SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS place FROM bid
) AS bids
WHERE place <= 10;
