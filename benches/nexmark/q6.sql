-- The average price of each seller's last ten auctions, by the bids that won them.
CREATE TABLE answer (seller BIGINT, avg_price BIGINT) WITH (${SINK:-'connector' = 'blackhole'});

CREATE VIEW winning AS
SELECT id, seller, price, `dateTime`
FROM (
  SELECT a.id, a.seller, b.price, b.`dateTime`,
         ROW_NUMBER() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.`dateTime`) AS place
  FROM auction AS a JOIN bid AS b
  ON a.id = b.auction AND b.`dateTime` BETWEEN a.`dateTime` AND a.expires
) AS bids
WHERE place = 1;

INSERT INTO answer
SELECT seller, AVG(price)
FROM (
  SELECT seller, price,
         ROW_NUMBER() OVER (PARTITION BY seller ORDER BY `dateTime` DESC, id DESC) AS place
  FROM winning
) AS newest
WHERE place <= 10
GROUP BY seller;
