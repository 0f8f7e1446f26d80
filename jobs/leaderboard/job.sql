-- Leaderboard: catches of a mobile game become scores and two rankings.
--
-- Reads   catches         one JSON record per catch
--         players         the table of players, as its database's change log (Debezium)
-- Writes  top_players     the 100 best players of all time, by place: updated as they change
--         top_by_minute   the 10 best players of each minute and region: written once, when the
--                         minute is over
--         player_scores   each player's points: updated with every catch
--
-- Variables: BROKERS (127.0.0.1:9092), TOPIC_PREFIX (nothing), BOUNDED (unbounded; latest-offset
-- reads what the topics hold now and ends).

SET 'table.local-time-zone' = 'UTC';

CREATE TABLE catches (
  player_id STRING,
  ball_id   BIGINT,
  rarity    STRING,
  points    BIGINT,
  region    STRING,
  lat       DOUBLE,
  lon       DOUBLE,
  ts        TIMESTAMP_LTZ(3),
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

CREATE TABLE players (
  player_id STRING,
  nickname  STRING,
  PRIMARY KEY (player_id) NOT ENFORCED
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}players',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = '${BOUNDED:-unbounded}',
  'format' = 'debezium-json'
);

CREATE TABLE top_players (
  place     BIGINT,
  player_id STRING,
  nickname  STRING,
  points    BIGINT,
  catches   BIGINT,
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
  player_id    STRING,
  points       BIGINT,
  catches      BIGINT
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}top_by_minute',
  'format' = 'json',
  'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE player_scores (
  player_id STRING,
  points    BIGINT,
  catches   BIGINT,
  PRIMARY KEY (player_id) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'properties.bootstrap.servers' = '${BROKERS:-127.0.0.1:9092}',
  'topic' = '${TOPIC_PREFIX:-}player_scores',
  'key.format' = 'json',
  'value.format' = 'json'
);

-- A phone that misses the acknowledgement sends a catch again: the same ball, at the same time. Both
-- copies fall in the same second, and a group of one ball in one second counts them once. What
-- must be remembered for that is a few seconds of balls, not all balls there ever were.
CREATE VIEW distinct_catches AS
SELECT window_time AS caught_at, player_id, region, ball_id, MAX(points) AS points
FROM TABLE(TUMBLE(TABLE catches, DESCRIPTOR(ts), INTERVAL '1' SECOND))
GROUP BY window_start, window_end, window_time, player_id, region, ball_id;

CREATE VIEW scores AS
SELECT player_id, SUM(points) AS points, COUNT(*) AS catches
FROM distinct_catches
GROUP BY player_id;

EXECUTE STATEMENT SET
BEGIN

-- Equal points: the id decides, so that the order is the same each time and every place is taken
-- once. The best get their nicknames afterwards: a hundred rows are joined, not all players.
INSERT INTO top_players
SELECT s.place, s.player_id, p.nickname, s.points, s.catches
FROM (
  SELECT player_id, points, catches,
         ROW_NUMBER() OVER (ORDER BY points DESC, player_id ASC) AS place
  FROM scores
) AS s
LEFT JOIN players AS p ON p.player_id = s.player_id
WHERE s.place <= 100;

INSERT INTO top_by_minute
SELECT window_start, region, place, player_id, points, catches
FROM (
  SELECT window_start, region, player_id, points, catches,
         ROW_NUMBER() OVER (
           PARTITION BY window_start, window_end, region ORDER BY points DESC, player_id ASC
         ) AS place
  FROM (
    SELECT window_start, window_end, region, player_id,
           SUM(points) AS points, COUNT(*) AS catches
    FROM TABLE(TUMBLE(TABLE distinct_catches, DESCRIPTOR(caught_at), INTERVAL '1' MINUTE))
    GROUP BY window_start, window_end, region, player_id
  )
)
WHERE place <= 10;

INSERT INTO player_scores
SELECT player_id, points, catches FROM scores;

END;
