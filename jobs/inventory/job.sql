-- Inventory: what a retail chain sells and moves becomes its stock, store by store.
--
-- Reads   pos_transactions      one JSON record per receipt, with all its lines
--         stock_movements       deliveries, transfers, counts, returns, each as a signed quantity
--         items                 the table of items, as its database's change log (Debezium)
-- Writes  stock_positions       pieces on hand per store and item: updated as they change
--         reorder_alerts        what is below its reorder point, where: written once per shortage,
--                               taken back when it is over, by goods or by a new reorder point
--         sales_by_store_hour   written once, when the hour is over
--         negative_stock        what can't be: fewer than no pieces. Taken back when it is mended
--
-- Variables: BROKERS (127.0.0.1:9092), TOPIC_PREFIX (nothing), BOUNDED (unbounded; latest-offset
-- reads what the topics hold now and ends).

SET 'table.local-time-zone' = 'UTC';

CREATE TABLE pos_transactions (
  store_id   STRING,
  receipt_id BIGINT,
  lines      ARRAY<ROW<item_id STRING, quantity BIGINT, unit_price DECIMAL(10, 2)>>,
  ts         TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '30' SECOND
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}pos_transactions',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE stock_movements (
  movement_id    BIGINT,
  kind           STRING,
  store_id       STRING,
  other_store_id STRING,
  item_id        STRING,
  quantity       BIGINT,
  ts             TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '30' SECOND
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}stock_movements',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE items (
  item_id       STRING,
  name          STRING,
  reorder_point BIGINT,
  PRIMARY KEY (item_id) NOT ENFORCED
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}items',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'debezium-json'
);

CREATE TABLE stock_positions (
  store_id STRING,
  item_id  STRING,
  on_hand  BIGINT,
  PRIMARY KEY (store_id, item_id) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}stock_positions',
  'key.format' = 'json',
  'value.format' = 'json'
);

CREATE TABLE reorder_alerts (
  store_id STRING,
  item_id  STRING,
  name     STRING,
  PRIMARY KEY (store_id, item_id) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}reorder_alerts',
  'key.format' = 'json',
  'value.format' = 'json'
);

CREATE TABLE sales_by_store_hour (
  window_start TIMESTAMP(3),
  store_id     STRING,
  receipts     BIGINT,
  pieces       BIGINT,
  revenue      DECIMAL(38, 2)
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}sales_by_store_hour',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE negative_stock (
  store_id STRING,
  item_id  STRING,
  on_hand  BIGINT,
  PRIMARY KEY (store_id, item_id) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}negative_stock',
  'key.format' = 'json',
  'value.format' = 'json'
);

-- Tills and scanners send again what was not acknowledged. Of equal ids the first record counts.
-- A position must take in the receipts of a store whose line was down for an hour, too, so this
-- looks at all ids there ever were, not at a window.
CREATE VIEW distinct_receipts AS
SELECT store_id, lines, ts
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY store_id, receipt_id ORDER BY ts ASC) AS copy
  FROM pos_transactions
)
WHERE copy = 1;

CREATE VIEW distinct_movements AS
SELECT store_id, item_id, quantity
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY movement_id ORDER BY ts ASC) AS copy
  FROM stock_movements
)
WHERE copy = 1;

-- An item may stand on a receipt twice: as two lines. Each receipt has one that is its first.
CREATE VIEW sold_lines AS
SELECT store_id, line = 1 AS opens_receipt, item_id, quantity, quantity * unit_price AS amount, ts
FROM distinct_receipts
CROSS JOIN UNNEST(lines) WITH ORDINALITY AS l(item_id, quantity, unit_price, line);

CREATE VIEW positions AS
SELECT store_id, item_id, SUM(change) AS on_hand
FROM (
  SELECT store_id, item_id, -quantity AS change FROM sold_lines
  UNION ALL
  SELECT store_id, item_id, quantity AS change FROM distinct_movements
)
GROUP BY store_id, item_id;

EXECUTE STATEMENT SET
BEGIN

INSERT INTO stock_positions
SELECT store_id, item_id, on_hand FROM positions;

-- What changes while a shortage lasts, such as the pieces left, is not in it: so a shortage is one
-- record, and its end another.
INSERT INTO reorder_alerts
SELECT p.store_id, p.item_id, i.name
FROM positions AS p
JOIN items AS i ON p.item_id = i.item_id
WHERE p.on_hand < i.reorder_point;

INSERT INTO sales_by_store_hour
SELECT window_start, store_id,
       COUNT(*) FILTER (WHERE opens_receipt) AS receipts,
       SUM(quantity) AS pieces,
       SUM(amount) AS revenue
FROM TABLE(TUMBLE(TABLE sold_lines, DESCRIPTOR(ts), INTERVAL '1' HOUR))
GROUP BY window_start, window_end, store_id;

INSERT INTO negative_stock
SELECT store_id, item_id, on_hand FROM positions WHERE on_hand < 0;

END;
