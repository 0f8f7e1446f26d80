-- CRM segments: see jobs/crm_segments/README.md.

CREATE TABLE orders (
  order_id BIGINT, user_id VARCHAR, product_id BIGINT, quantity BIGINT, amount DECIMAL(10, 2), content_id VARCHAR,
  ts TIMESTAMP
);
COMMENT ON TABLE orders IS 'input';

CREATE TABLE customers (user_id VARCHAR PRIMARY KEY, name VARCHAR, email VARCHAR, consent BOOLEAN);
COMMENT ON TABLE customers IS 'input, changelog';

-- Days since the last order, up to the last day with any order of anybody. No order is late here.
CREATE VIEW totals AS
SELECT user_id, max(ts::DATE) AS last_order_day, count(*) AS orders, sum(amount)::DECIMAL(38, 2) AS revenue,
       max(max(ts::DATE)) OVER () - max(ts::DATE) AS days_ago
FROM (SELECT DISTINCT ON (order_id) user_id, amount, ts FROM orders ORDER BY ts)
GROUP BY user_id;

-- The borders of the scores, from 5 down to 2.
CREATE VIEW scores AS
SELECT *,
       CASE WHEN days_ago < 30 THEN 5 WHEN days_ago < 60 THEN 4 WHEN days_ago < 90 THEN 3
            WHEN days_ago < 180 THEN 2 ELSE 1 END AS recency,
       CASE WHEN orders >= 10 THEN 5 WHEN orders >= 6 THEN 4 WHEN orders >= 4 THEN 3
            WHEN orders >= 2 THEN 2 ELSE 1 END AS frequency,
       CASE WHEN revenue >= 2000 THEN 5 WHEN revenue >= 1000 THEN 4 WHEN revenue >= 500 THEN 3
            WHEN revenue >= 200 THEN 2 ELSE 1 END AS monetary
FROM totals;

-- The README's table: a line for each worth, the better of frequency and monetary, a column for each recency.
CREATE TABLE segments AS
FROM (VALUES
  (1, ['lost',        'hibernating', 'needs_attention', 'new',       'new']),
  (2, ['lost',        'hibernating', 'needs_attention', 'promising', 'promising']),
  (3, ['at_risk',     'at_risk',     'loyal',           'loyal',     'loyal']),
  (4, ['cannot_lose', 'cannot_lose', 'loyal',           'champions', 'champions']),
  (5, ['cannot_lose', 'cannot_lose', 'loyal',           'champions', 'champions'])
) AS of_worth(worth, by_recency);

CREATE VIEW segmented AS
SELECT user_id, name, consent, by_recency[recency] AS segment, recency, frequency, monetary, last_order_day,
       orders, revenue
FROM scores JOIN customers USING (user_id) JOIN segments ON worth = greatest(frequency, monetary);

CREATE VIEW rfm_segments AS
SELECT * EXCLUDE (consent) FROM segmented;
COMMENT ON VIEW rfm_segments IS 'result, latest of each key';

-- Who is in an audience in the end: all who entered, less all who left.
CREATE VIEW campaign_audience AS
SELECT user_id, segment FROM segmented WHERE consent;
COMMENT ON VIEW campaign_audience IS 'result, changelog';
