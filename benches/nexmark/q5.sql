-- The auctions with the most bids in the last ten seconds, every two seconds.
CREATE TABLE answer (auction BIGINT, num BIGINT) WITH (${SINK:-'connector' = 'blackhole'});

CREATE VIEW counted AS
SELECT window_start, window_end, auction, COUNT(*) AS num
FROM TABLE(HOP(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
GROUP BY window_start, window_end, auction;

INSERT INTO answer
SELECT c.auction, c.num
FROM counted AS c JOIN (
  SELECT window_start, window_end, MAX(num) AS most FROM counted GROUP BY window_start, window_end
) AS m
ON c.window_start = m.window_start AND c.window_end = m.window_end AND c.num >= m.most;
