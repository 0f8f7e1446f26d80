-- Bids for some of the auctions.
CREATE TABLE answer (auction BIGINT, price BIGINT) WITH (${SINK:-'connector' = 'blackhole'});

INSERT INTO answer SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0;
