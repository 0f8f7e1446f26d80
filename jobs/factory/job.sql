-- Factory: how well each machine does hour by hour (OEE), readings that are out of line, downtime.
--
-- Reads   sensor_readings   one JSON record per reading of a sensor
--         machine_states    one JSON record when a machine's state changes, and as a sign of life
--                           every few minutes: running, down, planned
--         production        one JSON record per report of pieces made
-- Writes  oee               one record per machine and hour: updated while the hour lasts
--         anomalies         one record per reading that is far from those before it
--         downtime          one record per interval in which a machine was down, and why
--
-- Variables: BROKERS (127.0.0.1:9092), TOPIC_PREFIX (nothing), BOUNDED (unbounded; latest-offset
-- reads what the topics hold now and ends).

SET 'table.local-time-zone' = 'UTC';

-- An hour that nothing came for in two days of the clock is forgotten. Its record stays.
SET 'table.exec.state.ttl' = '2 d';

CREATE TABLE sensor_readings (
  machine_id STRING,
  sensor     STRING,
  `value`    DECIMAL(12, 3),
  ts         TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}sensor_readings',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE machine_states (
  machine_id STRING,
  state      STRING,
  reason     STRING,
  ts         TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}machine_states',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE production (
  machine_id    STRING,
  good          BIGINT,
  scrap         BIGINT,
  ideal_cycle_s DECIMAL(10, 3),
  ts            TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}production',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE oee (
  machine_id   STRING,
  hour_start   TIMESTAMP(3),
  shift        STRING,
  shift_day    DATE,
  planned_s    BIGINT,
  run_s        BIGINT,
  good         BIGINT,
  scrap        BIGINT,
  availability DECIMAL(7, 4),
  performance  DECIMAL(9, 4),
  quality      DECIMAL(7, 4),
  oee          DECIMAL(9, 4),
  PRIMARY KEY (machine_id, hour_start) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}oee',
  'key.format' = 'json',
  'key.json.timestamp-format.standard' = 'ISO-8601',
  'value.format' = 'json',
  'value.json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE anomalies (
  machine_id STRING,
  sensor     STRING,
  read_at    TIMESTAMP_LTZ(3),
  reading    DECIMAL(12, 3),
  mean       DECIMAL(12, 3),
  deviation  DECIMAL(12, 3),
  z_score    DECIMAL(9, 3)
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}anomalies',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE downtime (
  machine_id STRING,
  reason     STRING,
  down_from  TIMESTAMP_LTZ(3),
  down_to    TIMESTAMP_LTZ(3),
  seconds    BIGINT
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}downtime',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

-- A controller that misses the acknowledgement sends a record again, with the same time. Groups of
-- one millisecond take the copies for one.
CREATE VIEW distinct_states AS
SELECT machine_id, MAX(state) AS state, MAX(reason) AS reason, window_time AS ts
FROM TABLE(TUMBLE(TABLE machine_states, DESCRIPTOR(ts), INTERVAL '0.001' SECOND))
GROUP BY window_start, window_end, window_time, machine_id;

CREATE VIEW distinct_production AS
SELECT machine_id, MAX(good) AS good, MAX(scrap) AS scrap, MAX(ideal_cycle_s) AS ideal_cycle_s,
       window_time AS ts
FROM TABLE(TUMBLE(TABLE production, DESCRIPTOR(ts), INTERVAL '0.001' SECOND))
GROUP BY window_start, window_end, window_time, machine_id;

-- From each sign of life to the next, what the earlier one said holds. After an hour without any,
-- nobody knows what the machine did: such a silence is neither planned nor run.
CREATE VIEW spans AS
SELECT machine_id, state, CAST(from_ts AS TIMESTAMP(3)) AS from_at, CAST(ts AS TIMESTAMP(3)) AS to_at
FROM (
  SELECT machine_id, ts,
         LAG(ts) OVER (PARTITION BY machine_id ORDER BY ts) AS from_ts,
         LAG(state) OVER (PARTITION BY machine_id ORDER BY ts) AS state
  FROM distinct_states
)
WHERE from_ts >= ts - INTERVAL '1' HOUR;

-- A span that reaches over a full hour is cut there.
CREATE VIEW parts AS
SELECT machine_id, state, FLOOR(from_at TO HOUR) AS hour_start,
       TIMESTAMPDIFF(SECOND, from_at, LEAST(to_at, FLOOR(from_at TO HOUR) + INTERVAL '1' HOUR)) AS seconds
FROM spans
UNION ALL
SELECT machine_id, state, FLOOR(to_at TO HOUR) AS hour_start,
       TIMESTAMPDIFF(SECOND, FLOOR(to_at TO HOUR), to_at) AS seconds
FROM spans
WHERE FLOOR(to_at TO HOUR) > FLOOR(from_at TO HOUR) AND FLOOR(to_at TO HOUR) < to_at;

CREATE VIEW hours AS
SELECT machine_id, hour_start,
       SUM(planned_s) AS planned_s, SUM(run_s) AS run_s,
       SUM(good) AS good, SUM(scrap) AS scrap, SUM(ideal_s) AS ideal_s
FROM (
  SELECT machine_id, hour_start,
         IF(state = 'planned', 0, seconds) AS planned_s, IF(state = 'running', seconds, 0) AS run_s,
         CAST(0 AS BIGINT) AS good, CAST(0 AS BIGINT) AS scrap, CAST(0 AS DECIMAL(20, 3)) AS ideal_s
  FROM parts
  UNION ALL
  SELECT machine_id, FLOOR(CAST(ts AS TIMESTAMP(3)) TO HOUR) AS hour_start, 0 AS planned_s, 0 AS run_s,
         good, scrap, CAST((good + scrap) * ideal_cycle_s AS DECIMAL(20, 3)) AS ideal_s
  FROM distinct_production
)
GROUP BY machine_id, hour_start;

CREATE FUNCTION quotient(a DECIMAL(38, 3), b DECIMAL(38, 3)) RETURNS DOUBLE
RETURN CAST(a AS DOUBLE) / CAST(NULLIF(b, 0) AS DOUBLE);

-- A copy of a reading stands right behind it, in the order of time.
CREATE VIEW distinct_readings AS
SELECT machine_id, sensor, ts, reading
FROM (
  SELECT machine_id, sensor, ts, reading,
         LAG(ts) OVER (PARTITION BY machine_id, sensor ORDER BY ts) AS ts_before
  FROM (SELECT machine_id, sensor, ts, `value` AS reading FROM sensor_readings)
)
WHERE ts_before IS NULL OR ts_before < ts;

-- The readings of the ten minutes before and including each one. Sums of decimals are exact, in
-- whatever order the readings come.
CREATE VIEW readings AS
SELECT machine_id, sensor, ts, reading,
       COUNT(*) OVER recent AS n,
       CAST(SUM(reading) OVER recent AS DOUBLE) AS total,
       CAST(SUM(reading * reading) OVER recent AS DOUBLE) AS squares
FROM distinct_readings
WINDOW recent AS (
  PARTITION BY machine_id, sensor ORDER BY ts RANGE BETWEEN INTERVAL '10' MINUTE PRECEDING AND CURRENT ROW
);

CREATE VIEW rolling AS
SELECT machine_id, sensor, ts, reading, n, total / n AS mean,
       SQRT(GREATEST(squares - total * total / n, 0E0) / NULLIF(n - 1, 0)) AS deviation
FROM readings;

EXECUTE STATEMENT SET
BEGIN

INSERT INTO oee
SELECT machine_id, hour_start,
       CASE
         WHEN EXTRACT(HOUR FROM hour_start) BETWEEN 6 AND 13 THEN 'early'
         WHEN EXTRACT(HOUR FROM hour_start) BETWEEN 14 AND 21 THEN 'late'
         ELSE 'night'
       END AS shift,
       CAST(hour_start - INTERVAL '6' HOUR AS DATE) AS shift_day,
       planned_s, run_s, good, scrap,
       CAST(quotient(run_s, planned_s) AS DECIMAL(7, 4)) AS availability,
       CAST(quotient(ideal_s, run_s) AS DECIMAL(9, 4)) AS performance,
       CAST(quotient(good, good + scrap) AS DECIMAL(7, 4)) AS quality,
       CAST(quotient(run_s, planned_s) * quotient(ideal_s, run_s) * quotient(good, good + scrap)
            AS DECIMAL(9, 4)) AS oee
FROM hours;

INSERT INTO anomalies
SELECT machine_id, sensor, ts AS read_at, reading,
       CAST(mean AS DECIMAL(12, 3)) AS mean,
       CAST(deviation AS DECIMAL(12, 3)) AS deviation,
       CAST((reading - mean) / deviation AS DECIMAL(9, 3)) AS z_score
FROM rolling
WHERE n >= 20 AND ABS(reading - mean) > 4 * deviation AND deviation > 0;

-- A downtime begins with the first record that says so and ends with the first one that says
-- something else: signs of life between them, which say the same again, are left out first.
INSERT INTO downtime
SELECT machine_id, reason, from_ts AS down_from, ts AS down_to,
       TIMESTAMPDIFF(SECOND, from_ts, ts) AS seconds
FROM (
  SELECT machine_id, ts,
         LAG(state) OVER (PARTITION BY machine_id ORDER BY ts) AS state,
         LAG(reason) OVER (PARTITION BY machine_id ORDER BY ts) AS reason,
         LAG(ts) OVER (PARTITION BY machine_id ORDER BY ts) AS from_ts
  FROM (
    SELECT machine_id, state, reason, ts
    FROM (
      SELECT machine_id, state, reason, ts,
             LAG(state) OVER (PARTITION BY machine_id ORDER BY ts) AS state_before,
             LAG(reason) OVER (PARTITION BY machine_id ORDER BY ts) AS reason_before
      FROM distinct_states
    )
    WHERE state_before IS NULL OR state <> state_before
       OR COALESCE(reason, '') <> COALESCE(reason_before, '')
  )
)
WHERE state = 'down';

END;
