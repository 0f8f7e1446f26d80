-- A row that may be there or not, between two others.
CREATE TABLE answer (sym STRING, a BIGINT, b BIGINT, c BIGINT) WITH ('connector' = 'filesystem', 'path' = '${OUTPUT}', 'format' = 'json');

INSERT INTO answer
SELECT m.sym, m.a, m.b, m.c FROM ticks MATCH_RECOGNIZE (
  PARTITION BY sym ORDER BY ts
  MEASURES A.id AS a, LAST(B.id) AS b, C.id AS c
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B? C)
  DEFINE A AS A.vol > 20, B AS B.vol > 10 AND B.vol <= 20, C AS C.vol <= 10
) AS m;
