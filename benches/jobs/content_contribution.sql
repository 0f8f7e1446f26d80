-- Content contribution: see jobs/content_contribution/README.md.

CREATE TABLE clicks (
  user_id VARCHAR, session_hint BIGINT, event_type VARCHAR, page VARCHAR, content_id VARCHAR, product_id BIGINT,
  price DECIMAL(10, 2), referrer VARCHAR, device VARCHAR, ts TIMESTAMP, kafka_offset BIGINT
);
COMMENT ON TABLE clicks IS 'input';

CREATE TABLE orders (
  order_id BIGINT, user_id VARCHAR, product_id BIGINT, quantity BIGINT, amount DECIMAL(10, 2), content_id VARCHAR,
  ts TIMESTAMP
);
COMMENT ON TABLE orders IS 'input';

-- Steps that came when their turn was over: they are no touches. As views and clicks they count all the same.
CREATE TABLE late_steps (user_id VARCHAR, ts TIMESTAMP);
COMMENT ON TABLE late_steps IS 'late for over';

CREATE TABLE late_orders (order_id BIGINT, user_id VARCHAR, amount DECIMAL(10, 2), ts TIMESTAMP);
COMMENT ON TABLE late_orders IS 'late for window aggregate';

CREATE VIEW counted_orders AS
SELECT DISTINCT ON (order_id) *
FROM (
  SELECT order_id, user_id, amount, ts FROM orders
  EXCEPT ALL
  SELECT order_id, user_id, amount, ts FROM late_orders
);

-- One touch for each user and time, the one that arrived last in time: clicks of a user are in one partition, in the
-- order of their arrival, so that the late ones are the last of their time.
CREATE VIEW touches AS
SELECT DISTINCT ON (user_id, ts) user_id, ts, content_id
FROM (
  SELECT *, row_number() OVER (PARTITION BY user_id, ts ORDER BY kafka_offset DESC) AS nth_last
  FROM clicks WHERE content_id IS NOT NULL
)
LEFT JOIN (SELECT user_id, ts, count(*) AS late FROM late_steps GROUP BY ALL) USING (user_id, ts)
WHERE nth_last > coalesce(late, 0)
ORDER BY nth_last;

-- The touch before an order, be it ever so long ago; more than 24 hours are too long.
CREATE VIEW attributed AS
SELECT o.ts::DATE AS day, content_id, amount
FROM counted_orders AS o ASOF JOIN touches AS t ON o.user_id = t.user_id AND o.ts >= t.ts
WHERE t.ts >= o.ts - INTERVAL 24 HOUR;

CREATE VIEW figures AS
SELECT day, content_id, coalesce(views, 0) AS views, coalesce(clicks, 0) AS clicks, coalesce(orders, 0) AS orders,
       coalesce(revenue, 0)::DECIMAL(38, 2) AS revenue
FROM (
  SELECT ts::DATE AS day, content_id, count(*) FILTER (event_type = 'view') AS views,
         count(*) FILTER (event_type = 'click') AS clicks
  FROM clicks
  WHERE content_id IS NOT NULL AND event_type IN ('view', 'click')
  GROUP BY ALL
)
FULL JOIN (
  SELECT day, content_id, count(*) AS orders, sum(amount) AS revenue FROM attributed GROUP BY ALL
) USING (day, content_id);

CREATE VIEW content_daily AS
SELECT *, (0.01 * ratio(100 * cents(revenue), sum(cents(revenue)) OVER (PARTITION BY day), 100)::DECIMAL(10, 0))
            ::DECIMAL(7, 2) AS share_percent,
       row_number() OVER (PARTITION BY day ORDER BY revenue DESC, views DESC, content_id) AS place
FROM figures
QUALIFY place <= 1000;
COMMENT ON VIEW content_daily IS 'result, latest of each key';
