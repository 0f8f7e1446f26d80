-- Clickstream: what people do in a web shop becomes visits, a segment for each user, and the carts
-- that were left behind.
--
-- Reads   clicks            one JSON record per view, click, add_to_cart or purchase
--         orders            one JSON record per order
-- Writes  sessions          one record per visit, written once, 30 minutes after its last click
--         user_segments     each user's segment and why: updated when behaviour moves the user on
--         segment_counts    how many of the users of a minute each segment had: written once,
--                           when the minute is over
--         abandoned_carts   one record per cart that was not bought within 30 minutes
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

CREATE TABLE sessions (
  user_id     STRING,
  first_click TIMESTAMP_LTZ(3),
  last_click  TIMESTAMP_LTZ(3),
  depth       BIGINT,
  pages       BIGINT,
  entry_page  STRING,
  exit_page   STRING,
  purchases   BIGINT,
  revenue     DECIMAL(38, 2),
  converted   BOOLEAN
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}sessions',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE user_segments (
  user_id STRING,
  segment STRING,
  reason  STRING,
  PRIMARY KEY (user_id) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}user_segments',
  'key.format' = 'json',
  'value.format' = 'json'
);

CREATE TABLE segment_counts (
  window_start TIMESTAMP(3),
  segment      STRING,
  users        BIGINT
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}segment_counts',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE abandoned_carts (
  user_id         STRING,
  first_added     TIMESTAMP_LTZ(3),
  last_added      TIMESTAMP_LTZ(3),
  items           BIGINT,
  last_product_id BIGINT,
  device          STRING
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}abandoned_carts',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

-- A shop that misses the acknowledgement sends an order again, with the same id and time. A group
-- of one order in one millisecond counts both copies once, and keeps the order's time as the time
-- of its window. What must be remembered for that is a few seconds of orders, not all of them.
CREATE VIEW distinct_orders AS
SELECT order_id, user_id, MAX(amount) AS amount, window_time AS ts
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '0.001' SECOND))
GROUP BY window_start, window_end, window_time, order_id, user_id;

-- Everything that makes a segment, as numbers that add up.
CREATE VIEW activity AS
SELECT user_id, ts,
       IF(event_type = 'view', 1, 0) AS views,
       IF(event_type = 'add_to_cart', 1, 0) AS carts,
       0 AS orders
FROM clicks
UNION ALL
SELECT user_id, ts, 0 AS views, 0 AS carts, 1 AS orders
FROM distinct_orders;

-- Exactly one segment for what a user has done so far; the first line that fits decides.
CREATE FUNCTION segment(views BIGINT, carts BIGINT, orders BIGINT) RETURNS STRING
RETURN CASE
  WHEN orders >= 5 THEN 'loyal'
  WHEN orders >= 1 THEN 'buyer'
  WHEN carts >= 1 THEN 'cart_abandoner'
  WHEN views >= 10 THEN 'browser'
  ELSE 'new'
END;

CREATE FUNCTION reason(segment STRING) RETURNS STRING
RETURN CASE segment
  WHEN 'loyal' THEN 'five orders or more'
  WHEN 'buyer' THEN 'has ordered'
  WHEN 'cart_abandoner' THEN 'something in the cart, nothing ordered'
  WHEN 'browser' THEN 'ten views or more, nothing in the cart'
  WHEN 'lapsed' THEN 'not seen for 30 days'
  ELSE 'just came'
END;

-- Silence is no event. The calendar moves with the clicks: a day begins with its first click, and
-- users whose last day is 30 days back have lapsed, until they come again.
CREATE VIEW last_days AS
SELECT user_id, MAX(CAST(ts AS DATE)) AS last_day
FROM clicks
GROUP BY user_id;

CREATE VIEW lapsed_users AS
SELECT u.user_id
FROM last_days AS u
JOIN (SELECT MAX(last_day) AS today FROM last_days) AS c
  ON u.last_day <= c.today - INTERVAL '30' DAY;

CREATE VIEW segmented_users AS
SELECT user_id, IF(SUM(lapsed) > 0, 'lapsed', segment(SUM(views), SUM(carts), SUM(orders))) AS segment
FROM (
  SELECT user_id, views, carts, orders, 0 AS lapsed FROM activity
  UNION ALL
  SELECT user_id, 0 AS views, 0 AS carts, 0 AS orders, 1 AS lapsed FROM lapsed_users
)
GROUP BY user_id;

-- What each user had done by the end of each minute in which the user did anything.
CREATE VIEW users_by_minute AS
SELECT user_id, ts, segment(SUM(views) OVER past, SUM(carts) OVER past, SUM(orders) OVER past) AS segment
FROM (
  SELECT user_id, window_time AS ts, SUM(views) AS views, SUM(carts) AS carts, SUM(orders) AS orders
  FROM TABLE(TUMBLE(TABLE activity, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
  GROUP BY window_start, window_end, window_time, user_id
)
WINDOW past AS (PARTITION BY user_id ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

-- Carts and orders of a user, in one line of time: whichever device they come from.
CREATE VIEW carts_and_orders AS
SELECT user_id, ts, CAST(ts AS TIMESTAMP(3)) AS added_at, CAST(NULL AS TIMESTAMP(3)) AS ordered_at,
       product_id, device
FROM clicks
WHERE event_type = 'add_to_cart'
UNION ALL
SELECT user_id, ts, CAST(NULL AS TIMESTAMP(3)) AS added_at, CAST(ts AS TIMESTAMP(3)) AS ordered_at,
       CAST(NULL AS BIGINT) AS product_id, CAST(NULL AS STRING) AS device
FROM distinct_orders;

-- The first and the last of values in event time: they are compared with their times before them.
CREATE FUNCTION timed(at TIMESTAMP(3), v STRING) RETURNS STRING
RETURN DATE_FORMAT(at, 'yyyyMMddHHmmssSSS') || v;

CREATE FUNCTION untimed(v STRING) RETURNS STRING
RETURN SUBSTRING(v FROM 18);

EXECUTE STATEMENT SET
BEGIN

INSERT INTO sessions
SELECT user_id,
       MIN(ts) AS first_click,
       MAX(ts) AS last_click,
       COUNT(*) AS depth,
       COUNT(DISTINCT page) AS pages,
       untimed(MIN(timed(CAST(ts AS TIMESTAMP(3)), page))) AS entry_page,
       untimed(MAX(timed(CAST(ts AS TIMESTAMP(3)), page))) AS exit_page,
       COUNT(*) FILTER (WHERE event_type = 'purchase') AS purchases,
       COALESCE(SUM(price) FILTER (WHERE event_type = 'purchase'), 0.00) AS revenue,
       COUNT(*) FILTER (WHERE event_type = 'purchase') > 0 AS converted
FROM TABLE(SESSION(TABLE clicks PARTITION BY user_id, DESCRIPTOR(ts), INTERVAL '30' MINUTE))
GROUP BY window_start, window_end, user_id;

INSERT INTO user_segments
SELECT user_id, segment, reason(segment) AS reason FROM segmented_users;

INSERT INTO segment_counts
SELECT window_start, segment, COUNT(*) AS users
FROM TABLE(TUMBLE(TABLE users_by_minute, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, segment;

-- A cart is what a user puts in, and orders, without pausing for 30 minutes. An order within 30
-- minutes of the last thing put in belongs to the same window, and the cart was bought.
INSERT INTO abandoned_carts
SELECT user_id,
       CAST(MIN(added_at) AS TIMESTAMP_LTZ(3)) AS first_added,
       CAST(MAX(added_at) AS TIMESTAMP_LTZ(3)) AS last_added,
       COUNT(added_at) AS items,
       CAST(untimed(MAX(timed(added_at, CAST(product_id AS STRING)))) AS BIGINT) AS last_product_id,
       untimed(MAX(timed(added_at, device))) AS device
FROM TABLE(SESSION(TABLE carts_and_orders PARTITION BY user_id, DESCRIPTOR(ts), INTERVAL '30' MINUTE))
GROUP BY window_start, window_end, user_id
HAVING MAX(added_at) > COALESCE(MAX(ordered_at), TIMESTAMP '1970-01-01 00:00:00');

END;
