-- Hourly business: the figures of each hour, live within the hour, beside those of the same hour a
-- day and a week before.
--
-- Reads   clicks           one JSON record per view, click, add_to_cart or purchase
--         orders           one JSON record per order
-- Writes  hourly_figures   one record per day and hour: updated while the hour lasts
--
-- Variables: BROKERS (127.0.0.1:9092), TOPIC_PREFIX (nothing), BOUNDED (unbounded; latest-offset
-- reads what the topics hold now and ends).

SET 'table.local-time-zone' = 'UTC';

-- An hour that nothing came for in two days of the clock is forgotten. Its record stays.
SET 'table.exec.state.ttl' = '2 d';

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

CREATE TABLE hourly_figures (
  day                            DATE,
  hour                           BIGINT,
  visitors                       BIGINT,
  sessions                       BIGINT,
  orders                         BIGINT,
  revenue                        DECIMAL(38, 2),
  conversion_percent             DECIMAL(7, 2),
  average_basket                 DECIMAL(12, 2),
  orders_day_before              BIGINT,
  revenue_day_before             DECIMAL(38, 2),
  revenue_vs_day_before_percent  DECIMAL(12, 1),
  orders_week_before             BIGINT,
  revenue_week_before            DECIMAL(38, 2),
  revenue_vs_week_before_percent DECIMAL(12, 1),
  PRIMARY KEY (day, hour) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}hourly_figures',
  'key.format' = 'json',
  'value.format' = 'json'
);

-- A shop that misses the acknowledgement sends an order again, with the same id and time. A group
-- of one order in one millisecond counts both copies once, and keeps the order's time as the time
-- of its window. What must be remembered for that is a few seconds of orders, not all of them.
CREATE VIEW distinct_orders AS
SELECT order_id, user_id, MAX(amount) AS amount, window_time AS ts
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '0.001' SECOND))
GROUP BY window_start, window_end, window_time, order_id, user_id;

-- Each click with the one before it of the same user: whichever device it came from.
CREATE VIEW visits AS
SELECT CAST(ts AS TIMESTAMP(3)) AS at,
       CAST(LAG(ts) OVER (PARTITION BY user_id ORDER BY ts) AS TIMESTAMP(3)) AS before
FROM clicks;

-- What a click or an order adds to its hour. The first click of a user in an hour is a visitor; one
-- after more than 30 minutes of silence begins a session, which counts where it begins.
CREATE VIEW additions AS
SELECT FLOOR(at TO HOUR) AS hour_start,
       IF(before IS NULL OR before < FLOOR(at TO HOUR), 1, 0) AS visitors,
       IF(before IS NULL OR before < at - INTERVAL '30' MINUTE, 1, 0) AS sessions,
       0 AS orders,
       CAST(0 AS DECIMAL(10, 2)) AS amount
FROM visits
UNION ALL
SELECT FLOOR(CAST(ts AS TIMESTAMP(3)) TO HOUR) AS hour_start,
       0 AS visitors, 0 AS sessions, 1 AS orders, amount
FROM distinct_orders;

CREATE VIEW figures AS
SELECT hour_start,
       SUM(visitors) AS visitors, SUM(sessions) AS sessions,
       SUM(orders) AS orders, SUM(amount) AS revenue
FROM additions
GROUP BY hour_start;

-- Quotients are NULL where there is nothing to divide by.
CREATE FUNCTION change_percent(now DECIMAL(38, 2), before DECIMAL(38, 2)) RETURNS DECIMAL(12, 1)
RETURN CAST(100 * (CAST(now AS DOUBLE) / CAST(NULLIF(before, 0) AS DOUBLE) - 1) AS DECIMAL(12, 1));

-- The figures of an hour are asked for a week later.
INSERT INTO hourly_figures
SELECT /*+ STATE_TTL('w' = '9 d') */
       CAST(h.hour_start AS DATE) AS day, EXTRACT(HOUR FROM h.hour_start) AS hour,
       h.visitors, h.sessions, h.orders, h.revenue,
       CAST(100.0 * h.orders / NULLIF(h.sessions, 0) AS DECIMAL(7, 2)) AS conversion_percent,
       CAST(h.revenue / NULLIF(h.orders, 0) AS DECIMAL(12, 2)) AS average_basket,
       d.orders, d.revenue, change_percent(h.revenue, d.revenue),
       w.orders, w.revenue, change_percent(h.revenue, w.revenue)
FROM figures AS h
LEFT JOIN figures AS d ON d.hour_start + INTERVAL '1' DAY = h.hour_start
LEFT JOIN figures AS w ON w.hour_start + INTERVAL '7' DAY = h.hour_start;
