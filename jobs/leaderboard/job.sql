-- Leaderboard: catches of a mobile game become two rankings.
--
-- Reads   catches         one JSON record per catch
-- Writes  top_players     the 100 best players of all time, by place: updated as they change
--         top_by_minute   the 10 best players of each region and minute: written once, when the
--                         minute is over
--
-- Variables: BROKERS (127.0.0.1:9092), TOPIC_PREFIX (nothing), BOUNDED (unbounded; latest-offset
-- reads what the topics hold now and ends).

SET 'table.local-time-zone' = 'UTC';

CREATE TABLE catches (
  catch_id BIGINT,
  player   STRING,
  region   STRING,
  monster  STRING,
  ball     STRING,
  points   BIGINT,
  ts       TIMESTAMP_LTZ(3),
  -- Phones deliver within ten seconds. What comes later is late: it is kept in the dead letters.
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}catches',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE top_players (
  place   BIGINT,
  player  STRING,
  points  BIGINT,
  catches BIGINT,
  PRIMARY KEY (place) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}top_players',
  'key.format' = 'json',
  'value.format' = 'json'
);

CREATE TABLE top_by_minute (
  window_start TIMESTAMP(3),
  region       STRING,
  place        BIGINT,
  player       STRING,
  points       BIGINT,
  catches      BIGINT
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}top_by_minute',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

-- A phone that misses the acknowledgement sends a catch again, with the same id and time. Both
-- copies fall in the same second, and a group of one catch in one second counts them once. What
-- must be remembered for that is a few seconds of ids, not all ids there ever were.
CREATE VIEW distinct_catches AS
SELECT window_time AS caught_at, player, region, catch_id, MAX(points) AS points
FROM TABLE(TUMBLE(TABLE catches, DESCRIPTOR(ts), INTERVAL '1' SECOND))
GROUP BY window_start, window_end, window_time, player, region, catch_id;

EXECUTE STATEMENT SET
BEGIN

-- Equal points: the name decides, so that the order is the same each time.
INSERT INTO top_players
SELECT place, player, points, catches
FROM (
  SELECT player, points, catches,
         ROW_NUMBER() OVER (ORDER BY points DESC, player ASC) AS place
  FROM (
    SELECT player, SUM(points) AS points, COUNT(*) AS catches
    FROM distinct_catches
    GROUP BY player
  )
)
WHERE place <= 100;

INSERT INTO top_by_minute
SELECT window_start, region, place, player, points, catches
FROM (
  SELECT window_start, region, player, points, catches,
         ROW_NUMBER() OVER (
           PARTITION BY window_start, window_end, region ORDER BY points DESC, player ASC
         ) AS place
  FROM (
    SELECT window_start, window_end, region, player,
           SUM(points) AS points, COUNT(*) AS catches
    FROM TABLE(TUMBLE(TABLE distinct_catches, DESCRIPTOR(caught_at), INTERVAL '1' MINUTE))
    GROUP BY window_start, window_end, region, player
  )
)
WHERE place <= 10;

END;
