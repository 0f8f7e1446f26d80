-- The time for which an average stays below a limit, for two minutes at most.
CREATE TABLE answer (sym STRING, first_ts TIMESTAMP(3), last_ts TIMESTAMP(3), average INT) WITH ('connector' = 'filesystem', 'path' = '${OUTPUT}', 'format' = 'json');

INSERT INTO answer
SELECT m.sym, m.first_ts, m.last_ts, m.average FROM ticks MATCH_RECOGNIZE (
  PARTITION BY sym ORDER BY ts
  MEASURES FIRST(A.ts) AS first_ts, LAST(A.ts) AS last_ts, AVG(A.vol) AS average
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A+ B) WITHIN INTERVAL '2' MINUTE
  DEFINE A AS AVG(A.vol) < 18
) AS m;
