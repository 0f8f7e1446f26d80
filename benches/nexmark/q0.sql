-- Passing bids on: what reading and writing costs.
CREATE TABLE answer (
  auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3), extra STRING
) WITH (${SINK:-'connector' = 'blackhole'});

INSERT INTO answer SELECT auction, bidder, price, `dateTime`, extra FROM bid;
