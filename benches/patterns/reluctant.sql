-- The nearest row of a kind after one of another.
CREATE TABLE answer (sym STRING, a BIGINT, b BIGINT, n BIGINT) WITH ('connector' = 'filesystem', 'path' = '${OUTPUT}', 'format' = 'json');

INSERT INTO answer
SELECT m.sym, m.a, m.b, m.n FROM ticks MATCH_RECOGNIZE (
  PARTITION BY sym ORDER BY ts
  MEASURES A.id AS a, B.id AS b, COUNT(X.id) AS n
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A X*? B)
  DEFINE A AS A.vol > 36, B AS B.vol < 3
) AS m;
