-- Pairs of rows that rise, overlapping.
CREATE TABLE answer (sym STRING, a BIGINT, b BIGINT) WITH ('connector' = 'filesystem', 'path' = '${OUTPUT}', 'format' = 'json');

INSERT INTO answer
SELECT m.sym, m.a, m.b FROM ticks MATCH_RECOGNIZE (
  PARTITION BY sym ORDER BY ts
  MEASURES A.id AS a, B.id AS b
  ONE ROW PER MATCH AFTER MATCH SKIP TO NEXT ROW
  PATTERN (A B)
  DEFINE B AS B.px > A.px
) AS m;
