-- A drop by 50 within a minute.
CREATE TABLE answer (sym STRING, dropped TIMESTAMP(3), by_how_much INT) WITH ('connector' = 'filesystem', 'path' = '${OUTPUT}', 'format' = 'json');

INSERT INTO answer
SELECT m.sym, m.dropped, m.by_how_much FROM ticks MATCH_RECOGNIZE (
  PARTITION BY sym ORDER BY ts
  MEASURES C.ts AS dropped, A.px - C.px AS by_how_much
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B* C) WITHIN INTERVAL '1' MINUTE
  DEFINE B AS B.px > A.px - 50, C AS C.px < A.px - 50
) AS m;
