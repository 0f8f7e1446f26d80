-- Chains of rising prices: the last row of a match begins the next.
CREATE TABLE answer (sym STRING, f BIGINT, l BIGINT) WITH ('connector' = 'filesystem', 'path' = '${OUTPUT}', 'format' = 'json');

INSERT INTO answer
SELECT m.sym, m.f, m.l FROM ticks MATCH_RECOGNIZE (
  PARTITION BY sym ORDER BY ts
  MEASURES A.id AS f, C.id AS l
  ONE ROW PER MATCH AFTER MATCH SKIP TO LAST C
  PATTERN (A C)
  DEFINE C AS C.px > A.px
) AS m;
