-- Factory: see jobs/factory/README.md.

CREATE TABLE sensor_readings (machine_id VARCHAR, sensor VARCHAR, value DECIMAL(12, 3), ts TIMESTAMP);
COMMENT ON TABLE sensor_readings IS 'input';

CREATE TABLE machine_states (machine_id VARCHAR, state VARCHAR, reason VARCHAR, ts TIMESTAMP);
COMMENT ON TABLE machine_states IS 'input';

CREATE TABLE production (machine_id VARCHAR, good BIGINT, scrap BIGINT, ideal_cycle_s DECIMAL(10, 3), ts TIMESTAMP);
COMMENT ON TABLE production IS 'input';

-- Records that came when their turn, or their millisecond, was over.
CREATE TABLE late_readings (machine_id VARCHAR, sensor VARCHAR, value DECIMAL(12, 3), ts TIMESTAMP);
COMMENT ON TABLE late_readings IS 'late for over';

CREATE TABLE late_states (machine_id VARCHAR, state VARCHAR, reason VARCHAR, ts TIMESTAMP);
COMMENT ON TABLE late_states IS 'late for window aggregate';

CREATE TABLE late_production (
  machine_id VARCHAR, good BIGINT, scrap BIGINT, ideal_cycle_s DECIMAL(10, 3), ts TIMESTAMP
);
COMMENT ON TABLE late_production IS 'late for window aggregate';

-- A record that is sent twice counts once.
CREATE VIEW readings AS
SELECT DISTINCT *
FROM (
  SELECT machine_id, sensor, value, ts FROM sensor_readings
  EXCEPT ALL
  SELECT machine_id, sensor, value, ts FROM late_readings
);

CREATE VIEW states AS
SELECT DISTINCT *
FROM (FROM machine_states EXCEPT ALL SELECT machine_id, state, reason, ts FROM late_states);

CREATE VIEW reports AS
SELECT DISTINCT *
FROM (FROM production EXCEPT ALL SELECT machine_id, good, scrap, ideal_cycle_s, ts FROM late_production);

-- Effectiveness -------------------------------------------------------------------------------

-- A state holds up to the next record, if that comes within an hour. One part for each hour it touches.
CREATE VIEW parts AS
SELECT machine_id, state, hour_start,
       date_sub('second', greatest(from_ts, hour_start), least(to_ts, hour_start + INTERVAL 1 HOUR)) AS seconds
FROM (
  SELECT machine_id, state, from_ts, to_ts,
         unnest(range(date_trunc('hour', from_ts), to_ts, INTERVAL 1 HOUR)) AS hour_start
  FROM (
    SELECT machine_id, state, ts AS from_ts, lead(ts) OVER (PARTITION BY machine_id ORDER BY ts) AS to_ts FROM states
  )
  WHERE to_ts - from_ts <= INTERVAL 1 HOUR
);

CREATE VIEW hours AS
SELECT machine_id, hour_start, coalesce(planned_s, 0) AS planned_s, coalesce(run_s, 0) AS run_s,
       coalesce(good, 0) AS good, coalesce(scrap, 0) AS scrap, coalesce(ideal_s, 0) AS ideal_s
FROM (
  SELECT machine_id, hour_start, sum(seconds) FILTER (state <> 'planned') AS planned_s,
         sum(seconds) FILTER (state = 'running') AS run_s
  FROM parts GROUP BY ALL
)
FULL JOIN (
  SELECT machine_id, date_trunc('hour', ts) AS hour_start, sum(good) AS good, sum(scrap) AS scrap,
         sum((good + scrap) * ideal_cycle_s) AS ideal_s
  FROM reports GROUP BY ALL
) USING (machine_id, hour_start);

CREATE VIEW oee AS
SELECT machine_id, hour_start,
       CASE WHEN hour(hour_start) BETWEEN 6 AND 13 THEN 'early' WHEN hour(hour_start) BETWEEN 14 AND 21 THEN 'late'
            ELSE 'night' END AS shift,
       -- The shift's day, and a night is of the day on which it began.
       CASE WHEN hour(hour_start) < 6 THEN hour_start::DATE - 1 ELSE hour_start::DATE END AS shift_day,
       planned_s::BIGINT AS planned_s, run_s::BIGINT AS run_s, good::BIGINT AS good, scrap::BIGINT AS scrap,
       quotient(run_s, planned_s)::DECIMAL(7, 4) AS availability,
       quotient(ideal_s, run_s)::DECIMAL(9, 4) AS performance,
       quotient(good, good + scrap)::DECIMAL(7, 4) AS quality,
       (quotient(run_s, planned_s) * quotient(ideal_s, run_s) * quotient(good, good + scrap))::DECIMAL(9, 4) AS oee
FROM hours;
COMMENT ON VIEW oee IS 'result, latest of each key';

-- Anomalies -----------------------------------------------------------------------------------

CREATE VIEW rolling AS
SELECT machine_id, sensor, ts AS read_at, value AS reading, count(*) OVER recent AS n,
       avg(value::DOUBLE) OVER recent AS mean, stddev_samp(value::DOUBLE) OVER recent AS deviation
FROM readings
WINDOW recent AS (
  PARTITION BY machine_id, sensor ORDER BY ts RANGE BETWEEN INTERVAL 10 MINUTE PRECEDING AND CURRENT ROW
);

CREATE VIEW anomalies AS
SELECT machine_id, sensor, read_at, reading, mean::DECIMAL(12, 3) AS mean, deviation::DECIMAL(12, 3) AS deviation,
       ((reading - mean) / deviation)::DECIMAL(9, 3) AS z_score
FROM rolling
WHERE n >= 20 AND abs(reading - mean) > 4 * deviation;
COMMENT ON VIEW anomalies IS 'result';

-- Downtime ------------------------------------------------------------------------------------

-- Records that say another thing than the one before them.
CREATE VIEW turns AS
SELECT machine_id, state, reason, ts
FROM states
WINDOW by_time AS (PARTITION BY machine_id ORDER BY ts)
QUALIFY lag(state) OVER by_time IS DISTINCT FROM state OR lag(reason) OVER by_time IS DISTINCT FROM reason;

-- The last downtime of a machine may not be over yet.
CREATE VIEW downtime AS
SELECT machine_id, reason, down_from, down_to, date_sub('second', down_from, down_to) AS seconds
FROM (
  SELECT machine_id, state, reason, ts AS down_from, lead(ts) OVER (PARTITION BY machine_id ORDER BY ts) AS down_to
  FROM turns
)
WHERE state = 'down' AND down_to IS NOT NULL;
COMMENT ON VIEW downtime IS 'result';
