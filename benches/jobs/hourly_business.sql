-- Hourly business: see jobs/hourly_business/README.md.

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

-- Clicks that came when their turn was over.
CREATE TABLE late_clicks (user_id VARCHAR, ts TIMESTAMP);
COMMENT ON TABLE late_clicks IS 'late for over';

CREATE TABLE late_orders (order_id BIGINT, user_id VARCHAR, amount DECIMAL(10, 2), ts TIMESTAMP);
COMMENT ON TABLE late_orders IS 'late for window aggregate';

CREATE VIEW counted_clicks AS
SELECT user_id, ts FROM clicks
EXCEPT ALL
SELECT user_id, ts FROM late_clicks;

CREATE VIEW counted_orders AS
SELECT DISTINCT ON (order_id) *
FROM (
  SELECT order_id, user_id, amount, ts FROM orders
  EXCEPT ALL
  SELECT order_id, user_id, amount, ts FROM late_orders
);

-- Clicks that begin a session.
CREATE VIEW beginnings AS
SELECT ts
FROM counted_clicks
QUALIFY coalesce(ts - lag(ts) OVER (PARTITION BY user_id ORDER BY ts) > INTERVAL 30 MINUTE, true);

CREATE VIEW figures AS
SELECT hour_start, coalesce(visitors, 0) AS visitors, coalesce(sessions, 0) AS sessions, coalesce(orders, 0) AS orders,
       coalesce(revenue, 0)::DECIMAL(38, 2) AS revenue
FROM (SELECT date_trunc('hour', ts) AS hour_start, count(DISTINCT user_id) AS visitors FROM counted_clicks GROUP BY ALL)
FULL JOIN (SELECT date_trunc('hour', ts) AS hour_start, count(*) AS sessions FROM beginnings GROUP BY ALL)
  USING (hour_start)
FULL JOIN (
  SELECT date_trunc('hour', ts) AS hour_start, count(*) AS orders, sum(amount) AS revenue
  FROM counted_orders GROUP BY ALL
) USING (hour_start);

-- By how many percent the revenue is above an earlier one.
CREATE MACRO change_percent(now, before) AS
  (0.1 * ratio(100 * (cents(now) - cents(before)), cents(before), 10)::DECIMAL(13, 0))::DECIMAL(12, 1);

CREATE VIEW hourly_figures AS
SELECT h.hour_start::DATE AS day, hour(h.hour_start) AS hour, h.visitors, h.sessions, h.orders, h.revenue,
       (0.01 * ratio(100 * h.orders, h.sessions, 100)::DECIMAL(10, 0))::DECIMAL(7, 2) AS conversion_percent,
       (0.01 * ratio(cents(h.revenue), 100 * h.orders, 100)::DECIMAL(14, 0))::DECIMAL(12, 2) AS average_basket,
       d.orders AS orders_day_before, d.revenue AS revenue_day_before,
       change_percent(h.revenue, d.revenue) AS revenue_vs_day_before_percent,
       w.orders AS orders_week_before, w.revenue AS revenue_week_before,
       change_percent(h.revenue, w.revenue) AS revenue_vs_week_before_percent
FROM figures AS h
LEFT JOIN figures AS d ON d.hour_start = h.hour_start - INTERVAL 24 HOUR
LEFT JOIN figures AS w ON w.hour_start = h.hour_start - INTERVAL 168 HOUR;
COMMENT ON VIEW hourly_figures IS 'result, latest of each key';
