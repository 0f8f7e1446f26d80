-- A/B test: the standing of each variant of each experiment, and whether to believe it.
--
-- Reads   clicks               one JSON record per view, click, add_to_cart or purchase
--         orders               one JSON record per order
--         assignments          one JSON record per user who was given a variant
-- Writes  experiment_results   one record per experiment and variant: updated with every user
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

CREATE TABLE assignments (
  user_id    STRING,
  experiment STRING,
  variant    STRING,
  ts         TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '15' SECOND
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}assignments',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE experiment_results (
  experiment            STRING,
  variant               STRING,
  assigned              BIGINT,
  users                 BIGINT,
  conversions           BIGINT,
  conversion_percent    DECIMAL(7, 3),
  revenue_per_user      DECIMAL(12, 4),
  lift_percent          DECIMAL(12, 3),
  revenue_lift_percent  DECIMAL(12, 3),
  z_score               DECIMAL(12, 4),
  p_value               DECIMAL(7, 6),
  sample_ratio_p_value  DECIMAL(7, 6),
  sample_ratio_mismatch BOOLEAN,
  PRIMARY KEY (experiment, variant) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}experiment_results',
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

-- The first assignment counts, whatever a user is given later: who has seen both variants stays
-- where the draw had put them. Equal times: the name of the variant decides, by the inner group,
-- which also takes the copies of retries for one.
CREATE VIEW first_assignments AS
SELECT user_id, experiment, variant, ts
FROM (
  SELECT user_id, experiment, variant, ts,
         COUNT(*) OVER (
           PARTITION BY experiment, user_id ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
         ) AS nth
  FROM (
    SELECT user_id, experiment, MIN(variant) AS variant, window_time AS ts
    FROM TABLE(TUMBLE(TABLE assignments, DESCRIPTOR(ts), INTERVAL '0.001' SECOND))
    GROUP BY window_start, window_end, window_time, user_id, experiment
  )
)
WHERE nth = 1;

-- What users did in the 14 days after their assignment: that they came, and what they ordered.
CREATE VIEW outcomes AS
SELECT a.experiment, a.variant, a.user_id, 0 AS orders, CAST(0 AS DECIMAL(10, 2)) AS amount
FROM first_assignments AS a
JOIN clicks AS c
  ON c.user_id = a.user_id AND c.ts BETWEEN a.ts AND a.ts + INTERVAL '14' DAY
UNION ALL
SELECT a.experiment, a.variant, a.user_id, 1 AS orders, o.amount
FROM first_assignments AS a
JOIN distinct_orders AS o
  ON o.user_id = a.user_id AND o.ts BETWEEN a.ts AND a.ts + INTERVAL '14' DAY;

-- A user counts once, however much he or she comes and buys.
CREATE VIEW variants AS
SELECT experiment, variant,
       SUM(assigned) AS assigned, SUM(users) AS users,
       SUM(conversions) AS conversions, SUM(revenue) AS revenue
FROM (
  SELECT experiment, variant, 0 AS assigned, 1 AS users, IF(SUM(orders) > 0, 1, 0) AS conversions,
         SUM(amount) AS revenue
  FROM outcomes
  GROUP BY experiment, variant, user_id
  UNION ALL
  SELECT experiment, variant, 1 AS assigned, 0 AS users, 0 AS conversions,
         CAST(0 AS DECIMAL(38, 2)) AS revenue
  FROM first_assignments
)
GROUP BY experiment, variant;

CREATE VIEW experiments AS
SELECT experiment, SUM(assigned) AS assigned, COUNT(*) AS variants,
       SUM(users) FILTER (WHERE variant = 'control') AS control_users,
       SUM(conversions) FILTER (WHERE variant = 'control') AS control_conversions,
       SUM(revenue) FILTER (WHERE variant = 'control') AS control_revenue
FROM variants
GROUP BY experiment;

-- The error function by formula 7.1.26 of Abramowitz and Stegun, Handbook of Mathematical Functions,
-- 1964; it is off by 1.5e-7 at most.
CREATE FUNCTION erf_term(t DOUBLE) RETURNS DOUBLE
RETURN t * (0.254829592E0 + t * (-0.284496736E0 + t * (1.421413741E0 + t * (-1.453152027E0 + t * 1.061405429E0))));

CREATE FUNCTION erfc(x DOUBLE) RETURNS DOUBLE
RETURN erf_term(1 / (1 + 0.3275911E0 * x)) * EXP(-x * x);

-- How likely a standard normal variable is at least so far from 0.
CREATE FUNCTION two_sided(z DOUBLE) RETURNS DECIMAL(7, 6)
RETURN CAST(erfc(ABS(z) / SQRT(2E0)) AS DECIMAL(7, 6));

-- How many standard errors lie between two proportions, of c1 in n1 and of c0 in n0; NULL where
-- nobody or everybody converted.
CREATE FUNCTION z_of(c1 DOUBLE, n1 DOUBLE, c0 DOUBLE, n0 DOUBLE) RETURNS DOUBLE
RETURN (c1 / NULLIF(n1, 0) - c0 / NULLIF(n0, 0))
     / NULLIF(SQRT((c1 + c0) / NULLIF(n1 + n0, 0) * (1 - (c1 + c0) / NULLIF(n1 + n0, 0))
                   * (1 / NULLIF(n1, 0) + 1 / NULLIF(n0, 0))), 0);

-- How many standard deviations a count is from the share that it should have had.
CREATE FUNCTION z_of_share(part DOUBLE, total DOUBLE, share DOUBLE) RETURNS DOUBLE
RETURN (part - total * share) / NULLIF(SQRT(total * share * (1 - share)), 0);

-- How much greater a value is than that of the control.
CREATE FUNCTION lift(v DOUBLE, control DOUBLE) RETURNS DECIMAL(12, 3)
RETURN CAST(100 * (v / NULLIF(control, 0) - 1) AS DECIMAL(12, 3));

CREATE VIEW standings AS
SELECT v.experiment, v.variant, v.assigned, v.users, v.conversions,
       CAST(v.conversions AS DOUBLE) / NULLIF(v.users, 0) AS rate,
       CAST(v.revenue AS DOUBLE) / NULLIF(v.users, 0) AS per_user,
       CAST(e.control_conversions AS DOUBLE) / NULLIF(e.control_users, 0) AS control_rate,
       CAST(e.control_revenue AS DOUBLE) / NULLIF(e.control_users, 0) AS control_per_user,
       z_of(v.conversions, v.users, e.control_conversions, e.control_users) AS z,
       two_sided(z_of_share(v.assigned, e.assigned, 1E0 / e.variants)) AS sample_ratio_p_value
FROM variants AS v
JOIN experiments AS e ON e.experiment = v.experiment;

-- The control is compared with nothing.
INSERT INTO experiment_results
SELECT experiment, variant, assigned, users, conversions,
       CAST(100 * rate AS DECIMAL(7, 3)) AS conversion_percent,
       CAST(per_user AS DECIMAL(12, 4)) AS revenue_per_user,
       IF(variant = 'control', NULL, lift(rate, control_rate)) AS lift_percent,
       IF(variant = 'control', NULL, lift(per_user, control_per_user)) AS revenue_lift_percent,
       IF(variant = 'control', NULL, CAST(z AS DECIMAL(12, 4))) AS z_score,
       IF(variant = 'control', NULL, two_sided(z)) AS p_value,
       sample_ratio_p_value,
       sample_ratio_p_value < 0.001 AS sample_ratio_mismatch
FROM standings;
