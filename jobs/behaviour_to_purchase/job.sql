-- Behaviour to purchase: each order with what its buyer had looked at before.
--
-- Reads   clicks              one JSON record per view, click, add_to_cart or purchase
--         orders              one JSON record per order
-- Writes  attributed_orders   one record per order, written once, when all clicks up to it are in
--
-- Variables: BROKERS (127.0.0.1:9092), TOPIC_PREFIX (nothing), BOUNDED (unbounded; latest-offset
-- reads what the topics hold now and ends).

SET 'table.local-time-zone' = 'UTC';

CREATE TABLE clicks (
  user_id      STRING,
  session_hint BIGINT,
  event_type   STRING,
  page         STRING,
  content_id   STRING,
  product_id   BIGINT,
  price        DECIMAL(10, 2),
  referrer     STRING,
  device       STRING,
  ts           TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '15' SECOND
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}clicks',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE orders (
  order_id   BIGINT,
  user_id    STRING,
  product_id BIGINT,
  quantity   BIGINT,
  amount     DECIMAL(10, 2),
  content_id STRING,
  ts         TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '15' SECOND
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}orders',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE attributed_orders (
  order_id       BIGINT,
  user_id        STRING,
  ordered_at     TIMESTAMP_LTZ(3),
  product_id     BIGINT,
  amount         DECIMAL(10, 2),
  first_touch    STRING,
  last_touch     STRING,
  touches        BIGINT,
  views          BIGINT,
  first_seen     TIMESTAMP_LTZ(3),
  seconds_to_buy BIGINT
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}attributed_orders',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

-- A shop that misses the acknowledgement sends an order again, with the same id and time. A group
-- of one order in one millisecond counts both copies once, and keeps the order's time as the time
-- of its window. What must be remembered for that is a few seconds of orders, not all of them.
CREATE VIEW distinct_orders AS
SELECT order_id, user_id, MAX(product_id) AS product_id, MAX(amount) AS amount, window_time AS ts
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '0.001' SECOND))
GROUP BY window_start, window_end, window_time, order_id, user_id;

-- Clicks and orders of a user, in one line of time. A purchase click is the order itself as the
-- browser saw it, and no behaviour before it.
CREATE VIEW steps AS
SELECT user_id, ts, CAST(ts AS TIMESTAMP(3)) AS seen_at, event_type, content_id,
       CAST(NULL AS BIGINT) AS order_id, CAST(NULL AS BIGINT) AS product_id,
       CAST(NULL AS DECIMAL(10, 2)) AS amount
FROM clicks
WHERE event_type <> 'purchase'
UNION ALL
SELECT user_id, ts, CAST(NULL AS TIMESTAMP(3)) AS seen_at, CAST(NULL AS STRING) AS event_type,
       CAST(NULL AS STRING) AS content_id, order_id, product_id, amount
FROM distinct_orders;

-- Each step looks back on the 24 hours before it; orders are the ones that are asked what they
-- see. FIRST_VALUE, LAST_VALUE and COUNT(x) leave NULLs out: steps without content are no touch.
CREATE VIEW journeys AS
SELECT user_id, ts, order_id, product_id, amount,
       FIRST_VALUE(content_id) OVER day_before AS first_touch,
       LAST_VALUE(content_id) OVER day_before AS last_touch,
       COUNT(content_id) OVER day_before AS touches,
       COUNT(*) FILTER (WHERE event_type = 'view') OVER day_before AS views,
       MIN(seen_at) OVER day_before AS first_seen
FROM steps
WINDOW day_before AS (
  PARTITION BY user_id ORDER BY ts RANGE BETWEEN INTERVAL '24' HOUR PRECEDING AND CURRENT ROW
);

INSERT INTO attributed_orders
SELECT order_id, user_id, ts AS ordered_at, product_id, amount,
       first_touch, last_touch, touches, views,
       CAST(first_seen AS TIMESTAMP_LTZ(3)) AS first_seen,
       TIMESTAMPDIFF(SECOND, first_seen, CAST(ts AS TIMESTAMP(3))) AS seconds_to_buy
FROM journeys
WHERE order_id IS NOT NULL;
