-- Clickstream: see jobs/clickstream/README.md.

CREATE TABLE clicks (
  user_id VARCHAR, session_hint BIGINT, event_type VARCHAR, page VARCHAR, content_id VARCHAR, product_id BIGINT,
  price DECIMAL(10, 2), referrer VARCHAR, device VARCHAR, ts TIMESTAMP
);
COMMENT ON TABLE clicks IS 'input';

CREATE TABLE orders (
  order_id BIGINT, user_id VARCHAR, product_id BIGINT, quantity BIGINT, amount DECIMAL(10, 2), content_id VARCHAR,
  ts TIMESTAMP
);
COMMENT ON TABLE orders IS 'input';

-- Clicks that came when their session was over: __arg5 is the page, __arg7 says whether it is a purchase, __arg8 is the
-- price.
CREATE TABLE late_for_sessions (
  user_id VARCHAR, __time TIMESTAMP, __arg5 VARCHAR, __arg7 BOOLEAN, __arg8 DECIMAL(10, 2)
);
COMMENT ON TABLE late_for_sessions IS 'late for window aggregate';

-- Clicks that came when their minute was over.
CREATE TABLE late_for_minutes (user_id VARCHAR, ts TIMESTAMP, views INTEGER, carts INTEGER, orders INTEGER);
COMMENT ON TABLE late_for_minutes IS 'late for window aggregate';

-- What was put into a cart that was over: __arg4 says when, __arg5 and __arg6 are product and device behind 17 digits
-- of time. Of an order they are NULL, and __arg7 is its time.
CREATE TABLE late_for_carts (
  user_id VARCHAR, __arg4 TIMESTAMP, __arg5 VARCHAR, __arg6 VARCHAR, __arg7 TIMESTAMP
);
COMMENT ON TABLE late_for_carts IS 'late for window aggregate';

-- Late orders count nowhere.
CREATE TABLE late_orders (order_id BIGINT, user_id VARCHAR, ts TIMESTAMP);
COMMENT ON TABLE late_orders IS 'late for window aggregate';

CREATE VIEW counted_orders AS
SELECT DISTINCT ON (order_id) *
FROM (
  SELECT order_id, user_id, ts FROM orders
  EXCEPT ALL
  SELECT order_id, user_id, ts FROM late_orders
);

-- Sessions ------------------------------------------------------------------------------------

-- A session begins with a click after more than 30 minutes without any.
CREATE VIEW session_clicks AS
SELECT *, count(*) FILTER (begins) OVER (PARTITION BY user_id ORDER BY ts) AS session
FROM (
  SELECT *, coalesce(ts - lag(ts) OVER (PARTITION BY user_id ORDER BY ts) > INTERVAL 30 MINUTE, true) AS begins
  FROM (
    SELECT user_id, ts, page, event_type = 'purchase' AS is_purchase, price FROM clicks
    EXCEPT ALL
    SELECT user_id, __time, __arg5, __arg7, __arg8 FROM late_for_sessions
  )
);

-- Of equal times the lesser name is the entry page, and the greater one the exit page.
CREATE VIEW sessions AS
SELECT user_id, min(ts) AS first_click, max(ts) AS last_click, count(*) AS depth, count(DISTINCT page) AS pages,
       first(page ORDER BY ts, page) AS entry_page, last(page ORDER BY ts, page) AS exit_page,
       count(*) FILTER (is_purchase) AS purchases,
       coalesce(sum(price) FILTER (is_purchase), 0)::DECIMAL(38, 2) AS revenue,
       bool_or(is_purchase) AS converted
FROM session_clicks
GROUP BY user_id, session;
COMMENT ON VIEW sessions IS 'result';

-- Segments ------------------------------------------------------------------------------------

CREATE MACRO segment(views, carts, orders) AS
  CASE
    WHEN orders >= 5 THEN 'loyal'
    WHEN orders >= 1 THEN 'buyer'
    WHEN carts >= 1 THEN 'cart_abandoner'
    WHEN views >= 10 THEN 'browser'
    ELSE 'new'
  END;

-- All clicks count, late or not.
CREATE VIEW users AS
SELECT user_id, coalesce(views, 0) AS views, coalesce(carts, 0) AS carts, coalesce(orders, 0) AS orders,
       last_day <= max(last_day) OVER () - 30 AS has_lapsed
FROM (
  SELECT user_id, max(ts::DATE) AS last_day, count(*) FILTER (event_type = 'view') AS views,
         count(*) FILTER (event_type = 'add_to_cart') AS carts
  FROM clicks GROUP BY user_id
)
FULL JOIN (SELECT user_id, count(*) AS orders FROM counted_orders GROUP BY user_id) USING (user_id);

CREATE VIEW user_segments AS
SELECT user_id, segment,
       CASE segment
         WHEN 'lapsed' THEN 'not seen for 30 days'
         WHEN 'loyal' THEN 'five orders or more'
         WHEN 'buyer' THEN 'has ordered'
         WHEN 'cart_abandoner' THEN 'something in the cart, nothing ordered'
         WHEN 'browser' THEN 'ten views or more, nothing in the cart'
         ELSE 'just came'
       END AS reason
FROM (SELECT user_id, CASE WHEN has_lapsed THEN 'lapsed' ELSE segment(views, carts, orders) END AS segment FROM users);
COMMENT ON VIEW user_segments IS 'result, latest of each key';

-- Everything that makes a segment, in one line of time.
CREATE VIEW activity AS
SELECT user_id, ts, (event_type = 'view')::INTEGER AS views, (event_type = 'add_to_cart')::INTEGER AS carts, 0 AS orders
FROM clicks
UNION ALL
SELECT user_id, ts, 0, 0, 1 FROM counted_orders;

-- The frame takes in all of the minute, so that a user has one segment in it.
CREATE VIEW segment_counts AS
SELECT minute AS window_start, segment(views, carts, orders) AS segment, count(*) AS users
FROM (
  SELECT DISTINCT minute, user_id, sum(views) OVER past AS views, sum(carts) OVER past AS carts,
         sum(orders) OVER past AS orders
  FROM (
    SELECT user_id, date_trunc('minute', ts) AS minute, views, carts, orders
    FROM (FROM activity EXCEPT ALL SELECT user_id, ts, views, carts, orders FROM late_for_minutes)
  )
  WINDOW past AS (PARTITION BY user_id ORDER BY minute RANGE UNBOUNDED PRECEDING)
)
GROUP BY ALL;
COMMENT ON VIEW segment_counts IS 'result';

-- Carts ---------------------------------------------------------------------------------------

CREATE VIEW additions AS
SELECT user_id, ts, product_id, device FROM clicks WHERE event_type = 'add_to_cart'
EXCEPT ALL
SELECT user_id, __arg4, substr(__arg5, 18)::BIGINT, substr(__arg6, 18) FROM late_for_carts WHERE __arg4 IS NOT NULL;

-- What a user puts in with no more than 30 minutes from one thing put in or ordered to the next.
CREATE VIEW carts AS
SELECT user_id, min(ts) AS first_added, max(ts) AS last_added, count(*) AS items,
       last(product_id ORDER BY ts, product_id::VARCHAR) AS last_product_id, last(device ORDER BY ts, device) AS device
FROM (
  SELECT *, count(*) FILTER (begins) OVER (PARTITION BY user_id ORDER BY ts) AS cart
  FROM (
    SELECT *, coalesce(ts - lag(ts) OVER (PARTITION BY user_id ORDER BY ts) > INTERVAL 30 MINUTE, true) AS begins
    FROM (FROM additions UNION ALL SELECT user_id, ts, NULL, NULL FROM counted_orders)
  )
)
WHERE device IS NOT NULL
GROUP BY user_id, cart;

-- Bought is what an order follows, of whatever, within 30 minutes of the last thing put in.
CREATE VIEW abandoned_carts AS
FROM carts ANTI JOIN counted_orders AS o
  ON o.user_id = carts.user_id AND o.ts BETWEEN last_added AND last_added + INTERVAL 30 MINUTE;
COMMENT ON VIEW abandoned_carts IS 'result';
