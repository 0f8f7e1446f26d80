-- Behaviour to purchase: see jobs/behaviour_to_purchase/README.md.

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

-- Steps that came when their turn was over. They are clicks: orders have been waited for.
CREATE TABLE late_steps (user_id VARCHAR, seen_at TIMESTAMP);
COMMENT ON TABLE late_steps IS 'late for over';

CREATE TABLE late_orders (order_id BIGINT, user_id VARCHAR, product_id BIGINT, amount DECIMAL(10, 2), ts TIMESTAMP);
COMMENT ON TABLE late_orders IS 'late for window aggregate';

CREATE VIEW counted_orders AS
SELECT DISTINCT ON (order_id) *
FROM (
  SELECT order_id, user_id, product_id, amount, ts FROM orders
  EXCEPT ALL
  SELECT order_id, user_id, product_id, amount, ts FROM late_orders
);

-- A purchase is the order itself as the browser saw it, and no behaviour before it. Of what a user did at one time the
-- late clicks are those that arrived last: clicks of a user are in one partition, in the order of their arrival.
CREATE VIEW behaviour AS
SELECT user_id, ts, event_type, content_id, kafka_offset
FROM (
  SELECT *, row_number() OVER (PARTITION BY user_id, ts ORDER BY kafka_offset DESC) AS nth_last
  FROM clicks WHERE event_type <> 'purchase'
)
LEFT JOIN (SELECT user_id, seen_at AS ts, count(*) AS late FROM late_steps GROUP BY ALL) USING (user_id, ts)
WHERE nth_last > coalesce(late, 0);

-- Of touches at the same time the later one to arrive is the later one.
CREATE VIEW attributed_orders AS
SELECT *, date_sub('second', first_seen, ordered_at) AS seconds_to_buy
FROM (
  SELECT order_id, o.user_id, o.ts AS ordered_at, product_id, amount,
         first(content_id ORDER BY b.ts, kafka_offset) FILTER (content_id IS NOT NULL) AS first_touch,
         last(content_id ORDER BY b.ts, kafka_offset) FILTER (content_id IS NOT NULL) AS last_touch,
         count(content_id) AS touches,
         count(*) FILTER (event_type = 'view') AS views,
         min(b.ts) AS first_seen
  FROM counted_orders AS o LEFT JOIN behaviour AS b
    ON b.user_id = o.user_id AND b.ts BETWEEN o.ts - INTERVAL 24 HOUR AND o.ts
  GROUP BY ALL
);
COMMENT ON VIEW attributed_orders IS 'result';
