-- Content contribution: what each article brings in, day by day.
--
-- Reads   clicks          one JSON record per view, click, add_to_cart or purchase
--         orders          one JSON record per order
-- Writes  content_daily   one record per day and content: updated while the day lasts
--
-- Variables: BROKERS (127.0.0.1:9092), TOPIC_PREFIX (nothing), BOUNDED (unbounded; latest-offset
-- reads what the topics hold now and ends).

SET 'table.local-time-zone' = 'UTC';

-- Figures that nothing came for in three days of the clock are forgotten. Their record stays.
SET 'table.exec.state.ttl' = '3 d';

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

CREATE TABLE content_daily (
  day           DATE,
  content_id    STRING,
  views         BIGINT,
  clicks        BIGINT,
  orders        BIGINT,
  revenue       DECIMAL(38, 2),
  share_percent DECIMAL(7, 2),
  place         BIGINT,
  PRIMARY KEY (day, content_id) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}content_daily',
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

-- What touched a user, and what the user ordered, in one line of time.
CREATE VIEW steps AS
SELECT user_id, ts, content_id, CAST(NULL AS BIGINT) AS order_id, CAST(NULL AS DECIMAL(10, 2)) AS amount
FROM clicks
WHERE content_id IS NOT NULL
UNION ALL
SELECT user_id, ts, CAST(NULL AS STRING) AS content_id, order_id, amount
FROM distinct_orders;

-- The last content that the buyer touched in the 24 hours before an order takes all of it.
CREATE VIEW attributed_orders AS
SELECT day, content_id, amount
FROM (
  SELECT CAST(ts AS DATE) AS day, order_id, amount,
         LAST_VALUE(content_id) OVER (
           PARTITION BY user_id ORDER BY ts RANGE BETWEEN INTERVAL '24' HOUR PRECEDING AND CURRENT ROW
         ) AS content_id
  FROM steps
)
WHERE order_id IS NOT NULL AND content_id IS NOT NULL;

CREATE VIEW figures AS
SELECT day, content_id,
       SUM(views) AS views, SUM(clicks) AS clicks, SUM(orders) AS orders, SUM(amount) AS revenue
FROM (
  SELECT CAST(ts AS DATE) AS day, content_id,
         IF(event_type = 'view', 1, 0) AS views, IF(event_type = 'click', 1, 0) AS clicks,
         0 AS orders, CAST(0 AS DECIMAL(10, 2)) AS amount
  FROM clicks
  WHERE content_id IS NOT NULL AND event_type IN ('view', 'click')
  UNION ALL
  SELECT day, content_id, 0 AS views, 0 AS clicks, 1 AS orders, amount
  FROM attributed_orders
)
GROUP BY day, content_id;

CREATE VIEW days AS
SELECT day, SUM(revenue) AS revenue FROM figures GROUP BY day;

-- Equal revenue: the views decide, then the name, so that every place is taken once.
INSERT INTO content_daily
SELECT f.day, f.content_id, f.views, f.clicks, f.orders, f.revenue,
       CAST(100 * f.revenue / NULLIF(d.revenue, 0) AS DECIMAL(7, 2)) AS share_percent,
       f.place
FROM (
  SELECT day, content_id, views, clicks, orders, revenue,
         ROW_NUMBER() OVER (
           PARTITION BY day ORDER BY revenue DESC, views DESC, content_id ASC
         ) AS place
  FROM figures
) AS f
JOIN days AS d ON d.day = f.day
WHERE f.place <= 1000;
