-- How many bids of each bidder were read in each ten seconds of the clock on the wall.
CREATE TABLE answer (
  bidder BIGINT, bid_count BIGINT, starttime TIMESTAMP(3), endtime TIMESTAMP(3)
) WITH (${SINK:-'connector' = 'blackhole'});

CREATE VIEW bid_read AS SELECT *, PROCTIME() AS read_at FROM bid;

INSERT INTO answer
SELECT bidder, COUNT(*), window_start, window_end
FROM TABLE(TUMBLE(TABLE bid_read, DESCRIPTOR(read_at), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, bidder;
