-- Clickstream: what people do in a web shop becomes sessions, and a segment for each user.
--
-- Reads   clicks           one JSON record per view, click, add_to_cart or purchase
-- Writes  sessions         one record per visit, written once, 30 minutes after its last click
--         user_segments    each user's segment: updated when behaviour moves the user on
--         segment_counts   how many users each segment has: updated with them
--
-- Variables: BROKERS (127.0.0.1:9092), TOPIC_PREFIX (nothing), BOUNDED (unbounded; latest-offset
-- reads what the topics hold now and ends).

SET 'table.local-time-zone' = 'UTC';

CREATE TABLE clicks (
  event_id     BIGINT,
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

CREATE TABLE sessions (
  user_id     STRING,
  first_click TIMESTAMP_LTZ(3),
  last_click  TIMESTAMP_LTZ(3),
  depth       BIGINT,
  pages       BIGINT,
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
  user_id   STRING,
  segment   STRING,
  views     BIGINT,
  carts     BIGINT,
  purchases BIGINT,
  PRIMARY KEY (user_id) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}user_segments',
  'key.format' = 'json',
  'value.format' = 'json'
);

CREATE TABLE segment_counts (
  segment   STRING,
  users     BIGINT,
  purchases BIGINT,
  PRIMARY KEY (segment) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}segment_counts',
  'key.format' = 'json',
  'value.format' = 'json'
);

CREATE VIEW behaviour AS
SELECT user_id,
       COUNT(*) FILTER (WHERE event_type = 'view') AS views,
       COUNT(*) FILTER (WHERE event_type = 'add_to_cart') AS carts,
       COUNT(*) FILTER (WHERE event_type = 'purchase') AS purchases
FROM clicks
GROUP BY user_id;

-- Exactly one segment for each user; the first line that fits decides.
CREATE VIEW segmented_users AS
SELECT user_id,
       CASE
         WHEN purchases >= 5 THEN 'loyal'
         WHEN purchases >= 1 THEN 'buyer'
         WHEN carts >= 1 THEN 'cart_abandoner'
         WHEN views >= 10 THEN 'browser'
         ELSE 'new'
       END AS segment,
       views, carts, purchases
FROM behaviour;

EXECUTE STATEMENT SET
BEGIN

INSERT INTO sessions
SELECT user_id,
       MIN(ts) AS first_click,
       MAX(ts) AS last_click,
       COUNT(*) AS depth,
       COUNT(DISTINCT page) AS pages,
       COUNT(*) FILTER (WHERE event_type = 'purchase') AS purchases,
       COALESCE(SUM(price) FILTER (WHERE event_type = 'purchase'), 0.00) AS revenue,
       COUNT(*) FILTER (WHERE event_type = 'purchase') > 0 AS converted
FROM TABLE(SESSION(TABLE clicks PARTITION BY user_id, DESCRIPTOR(ts), INTERVAL '30' MINUTE))
GROUP BY window_start, window_end, user_id;

INSERT INTO user_segments
SELECT user_id, segment, views, carts, purchases FROM segmented_users;

INSERT INTO segment_counts
SELECT segment, COUNT(*) AS users, SUM(purchases) AS purchases
FROM segmented_users
GROUP BY segment;

END;
