-- Bids with what a file says of them. SIDE_INPUT: lines of two numbers.
CREATE TABLE side_input (key BIGINT, `value` STRING) WITH (
  'connector' = 'filesystem',
  'path' = '${SIDE_INPUT:-side_input.csv}',
  'format' = 'csv'
);

CREATE TABLE answer (
  auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3), `value` STRING
) WITH (${SINK:-'connector' = 'blackhole'});

INSERT INTO answer
SELECT b.auction, b.bidder, b.price, b.`dateTime`, s.`value`
FROM (SELECT *, PROCTIME() AS read_at FROM bid) AS b
JOIN side_input FOR SYSTEM_TIME AS OF b.read_at AS s
ON MOD(b.auction, 10000) = s.key;
