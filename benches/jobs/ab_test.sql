-- A/B test: see jobs/ab_test/README.md.

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

CREATE TABLE assignments (user_id VARCHAR, experiment VARCHAR, variant VARCHAR, ts TIMESTAMP);
COMMENT ON TABLE assignments IS 'input';

CREATE TABLE late_assignments (user_id VARCHAR, experiment VARCHAR, variant VARCHAR, ts TIMESTAMP);
COMMENT ON TABLE late_assignments IS 'late for window aggregate';

CREATE TABLE late_orders (order_id BIGINT, user_id VARCHAR, amount DECIMAL(10, 2), ts TIMESTAMP);
COMMENT ON TABLE late_orders IS 'late for window aggregate';

-- Clicks that came too late to meet an assignment.
CREATE TABLE late_clicks (user_id VARCHAR, ts TIMESTAMP);
COMMENT ON TABLE late_clicks IS 'late for interval join';

CREATE VIEW counted_orders AS
SELECT DISTINCT ON (order_id) *
FROM (
  SELECT order_id, user_id, amount, ts FROM orders
  EXCEPT ALL
  SELECT order_id, user_id, amount, ts FROM late_orders
);

CREATE VIEW counted_clicks AS
SELECT user_id, ts FROM clicks
EXCEPT ALL
SELECT user_id, ts FROM late_clicks;

-- The first assignment of a user in an experiment; of equal times the lesser name.
CREATE VIEW first_assignments AS
SELECT DISTINCT ON (experiment, user_id) *
FROM (FROM assignments EXCEPT ALL SELECT user_id, experiment, variant, ts FROM late_assignments)
ORDER BY ts, variant;

-- What each of them did in the 14 days from then.
CREATE VIEW outcomes AS
SELECT experiment, variant, a.user_id,
       EXISTS (FROM counted_clicks AS c
               WHERE c.user_id = a.user_id AND c.ts BETWEEN a.ts AND a.ts + INTERVAL 14 DAY) AS clicked,
       count(order_id) AS orders, coalesce(sum(amount), 0) AS revenue
FROM first_assignments AS a LEFT JOIN counted_orders AS o
  ON o.user_id = a.user_id AND o.ts BETWEEN a.ts AND a.ts + INTERVAL 14 DAY
GROUP BY ALL;

CREATE VIEW variants AS
SELECT experiment, variant, count(*) AS assigned, count(*) FILTER (clicked OR orders > 0) AS users,
       count(*) FILTER (orders > 0) AS conversions, sum(revenue) AS revenue
FROM outcomes
GROUP BY ALL;

-- Each variant beside the control and the whole experiment.
CREATE VIEW standings AS
SELECT v.*, c.users AS control_users, c.conversions AS control_conversions, c.revenue AS control_revenue,
       sum(v.assigned) OVER whole AS all_assigned, count(*) OVER whole AS variants,
       v.variant <> 'control' AS is_compared
FROM variants AS v LEFT JOIN variants AS c ON c.experiment = v.experiment AND c.variant = 'control'
WINDOW whole AS (PARTITION BY v.experiment);

-- The pooled test of two proportions.
CREATE MACRO pooled(c1, n1, c0, n0) AS quotient(c1 + c0, n1 + n0);
CREATE MACRO z_of(c1, n1, c0, n0) AS
  (quotient(c1, n1) - quotient(c0, n0))
  / nullif(sqrt(pooled(c1, n1, c0, n0) * (1 - pooled(c1, n1, c0, n0)) * (quotient(1, n1) + quotient(1, n0))), 0);

-- How likely a standard normal variable is at least so far from 0: formula 7.1.26 of Abramowitz and Stegun, which
-- the README names: t is 1 / (1 + 0.3275911 x).
CREATE MACRO erfc(x, t) AS
  (0.254829592::DOUBLE * t - 0.284496736::DOUBLE * t ** 2 + 1.421413741::DOUBLE * t ** 3
   - 1.453152027::DOUBLE * t ** 4 + 1.061405429::DOUBLE * t ** 5) * exp(-(x ** 2));
CREATE MACRO two_sided(z) AS
  erfc(abs(z) / sqrt(2), 1 / (1 + 0.3275911::DOUBLE * abs(z) / sqrt(2)))::DECIMAL(7, 6);

CREATE MACRO lift(value, control) AS (100 * (value / nullif(control, 0) - 1))::DECIMAL(12, 3);

CREATE VIEW experiment_results AS
SELECT experiment, variant, assigned, users, conversions,
       (100 * quotient(conversions, users))::DECIMAL(7, 3) AS conversion_percent,
       (0.0001 * ratio(cents(revenue), 100 * users, 10000)::DECIMAL(16, 0))::DECIMAL(12, 4) AS revenue_per_user,
       CASE WHEN is_compared THEN
         lift(quotient(conversions, users), quotient(control_conversions, control_users))
       END AS lift_percent,
       CASE WHEN is_compared THEN
         lift(quotient(revenue, users), quotient(control_revenue, control_users))
       END AS revenue_lift_percent,
       CASE WHEN is_compared THEN
         z_of(conversions, users, control_conversions, control_users)::DECIMAL(12, 4)
       END AS z_score,
       CASE WHEN is_compared THEN
         two_sided(z_of(conversions, users, control_conversions, control_users))
       END AS p_value,
       two_sided((assigned - all_assigned / variants)
                 / nullif(sqrt(all_assigned / variants * (1 - 1 / variants)), 0)) AS sample_ratio_p_value,
       sample_ratio_p_value < 0.001 AS sample_ratio_mismatch
FROM standings;
COMMENT ON VIEW experiment_results IS 'result, latest of each key';
