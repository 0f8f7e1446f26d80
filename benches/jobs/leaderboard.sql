-- Leaderboard: see jobs/leaderboard/README.md.

CREATE TABLE catches (
  player_id VARCHAR, ball_id BIGINT, rarity VARCHAR, points BIGINT, region VARCHAR, lat DOUBLE, lon DOUBLE, ts TIMESTAMP
);
COMMENT ON TABLE catches IS 'input';

CREATE TABLE players (player_id VARCHAR PRIMARY KEY, nickname VARCHAR);
COMMENT ON TABLE players IS 'input, changelog';

-- Catches that came when their second was over.
CREATE TABLE late_catches (player_id VARCHAR, ball_id BIGINT, points BIGINT, region VARCHAR, ts TIMESTAMP);
COMMENT ON TABLE late_catches IS 'late for window aggregate';

-- A catch is one ball of one player at one time.
CREATE VIEW counted AS
SELECT DISTINCT ON (player_id, ball_id, ts) *
FROM (
  SELECT player_id, ball_id, points, region, ts FROM catches
  EXCEPT ALL
  SELECT player_id, ball_id, points, region, ts FROM late_catches
);

CREATE VIEW player_scores AS
SELECT player_id, sum(points)::BIGINT AS points, count(*) AS catches
FROM counted
GROUP BY player_id;
COMMENT ON VIEW player_scores IS 'result, latest of each key';

CREATE VIEW top_players AS
SELECT row_number() OVER (ORDER BY points DESC, player_id) AS place, player_id, nickname, points, catches
FROM player_scores LEFT JOIN players USING (player_id)
ORDER BY place
LIMIT 100;
COMMENT ON VIEW top_players IS 'result, latest of each key';

-- A player who catches in two regions is ranked in both.
CREATE VIEW top_by_minute AS
SELECT window_start, region,
       row_number() OVER (PARTITION BY window_start, region ORDER BY points DESC, player_id) AS place,
       player_id, points, catches
FROM (
  SELECT date_trunc('minute', ts) AS window_start, region, player_id,
         sum(points)::BIGINT AS points, count(*) AS catches
  FROM counted
  GROUP BY ALL
)
QUALIFY place <= 10;
COMMENT ON VIEW top_by_minute IS 'result';
