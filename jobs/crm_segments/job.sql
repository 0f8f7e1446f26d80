-- CRM segments: recency, frequency and monetary value of each customer, the segment that follows,
-- and who enters and leaves a campaign's audience.
--
-- Reads   orders              one JSON record per order
--         customers           the table of customers, as its database's change log (Debezium)
-- Writes  rfm_segments        one record per customer: updated with orders, days and master data
--         campaign_audience   one record whenever a customer enters or leaves a segment
--
-- Variables: BROKERS (127.0.0.1:9092), TOPIC_PREFIX (nothing), BOUNDED (unbounded; latest-offset
-- reads what the topics hold now and ends).

SET 'table.local-time-zone' = 'UTC';

CREATE TABLE orders (
  order_id   BIGINT,
  user_id    STRING,
  product_id BIGINT,
  quantity   BIGINT,
  amount     DECIMAL(10, 2),
  content_id STRING,
  ts         TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '60' SECOND
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}orders',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE customers (
  user_id STRING,
  name    STRING,
  email   STRING,
  consent BOOLEAN,
  PRIMARY KEY (user_id) NOT ENFORCED
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}customers',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'debezium-json'
);

CREATE TABLE rfm_segments (
  user_id        STRING,
  name           STRING,
  segment        STRING,
  recency        INT,
  frequency      INT,
  monetary       INT,
  last_order_day DATE,
  orders         BIGINT,
  revenue        DECIMAL(38, 2),
  PRIMARY KEY (user_id) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}rfm_segments',
  'key.format' = 'json',
  'value.format' = 'json'
);

CREATE TABLE campaign_audience (
  user_id STRING,
  segment STRING
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}campaign_audience',
  'format' = 'debezium-json'
);

-- A shop that misses the acknowledgement sends an order again: the same record. An order may also be
-- hours late, and must count all the same: so this remembers all orders there ever were.
CREATE VIEW distinct_orders AS
SELECT DISTINCT order_id, user_id, amount, CAST(ts AS DATE) AS day
FROM orders;

CREATE VIEW totals AS
SELECT user_id, MAX(day) AS last_order_day, COUNT(*) AS orders, SUM(amount) AS revenue
FROM distinct_orders
GROUP BY user_id;

-- The calendar moves with the orders: a day begins with its first order.
CREATE VIEW days AS
SELECT DISTINCT day FROM distinct_orders;

CREATE VIEW calendar AS
SELECT MAX(day) AS today FROM days;

-- What the customers of the last half year's days score today; those of all days before score 1. A
-- new day is joined with those days, not with the customers, and DISTINCT says only what changes: so
-- it touches those whose time has come.
CREATE VIEW recencies AS
SELECT DISTINCT d.day,
       CASE
         WHEN d.day > c.today - INTERVAL '30' DAY THEN 5
         WHEN d.day > c.today - INTERVAL '60' DAY THEN 4
         WHEN d.day > c.today - INTERVAL '90' DAY THEN 3
         ELSE 2
       END AS recency
FROM days AS d
JOIN calendar AS c ON d.day > c.today - INTERVAL '180' DAY;

-- Who they are is joined before how lately they ordered: a new day then changes what is shown of those
-- whose time has come, and nothing that a join has to keep.
CREATE VIEW known AS
SELECT t.user_id, c.name, c.consent, t.last_order_day, t.orders, t.revenue,
       CASE
         WHEN t.orders >= 10 THEN 5
         WHEN t.orders >= 6 THEN 4
         WHEN t.orders >= 4 THEN 3
         WHEN t.orders >= 2 THEN 2
         ELSE 1
       END AS frequency,
       CASE
         WHEN t.revenue >= 2000 THEN 5
         WHEN t.revenue >= 1000 THEN 4
         WHEN t.revenue >= 500 THEN 3
         WHEN t.revenue >= 200 THEN 2
         ELSE 1
       END AS monetary
FROM totals AS t
JOIN customers AS c ON c.user_id = t.user_id;

CREATE VIEW scores AS
SELECT k.user_id, k.name, k.consent, k.last_order_day, k.orders, k.revenue,
       COALESCE(r.recency, 1) AS recency, k.frequency, k.monetary
FROM known AS k
LEFT JOIN recencies AS r ON r.day = k.last_order_day;

-- Exactly one name for each pair of scores: how lately, and how much (the better of F and M).
CREATE FUNCTION segment(recency INT, worth INT) RETURNS STRING
RETURN CASE
  WHEN recency >= 4 AND worth >= 4 THEN 'champions'
  WHEN recency >= 3 AND worth >= 3 THEN 'loyal'
  WHEN recency >= 4 AND worth = 2 THEN 'promising'
  WHEN recency >= 4 THEN 'new'
  WHEN recency = 3 THEN 'needs_attention'
  WHEN worth >= 4 THEN 'cannot_lose'
  WHEN worth = 3 THEN 'at_risk'
  WHEN recency = 2 THEN 'hibernating'
  ELSE 'lost'
END;

CREATE VIEW segmented AS
SELECT user_id, name, consent, segment(recency, GREATEST(frequency, monetary)) AS segment,
       recency, frequency, monetary, last_order_day, orders, revenue
FROM scores;

EXECUTE STATEMENT SET
BEGIN

INSERT INTO rfm_segments
SELECT user_id, name, segment, recency, frequency, monetary, last_order_day, orders, revenue
FROM segmented;

-- A record with "op":"c" says who enters, one with "op":"d" who leaves. DISTINCT, because a customer
-- whose scores change within a segment does neither.
INSERT INTO campaign_audience
SELECT DISTINCT user_id, segment
FROM segmented
WHERE consent;

END;
