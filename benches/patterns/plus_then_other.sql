-- One or more of a kind, then another kind.
CREATE TABLE answer (sym STRING, first_view BIGINT, buy BIGINT, matched TIMESTAMP(3)) WITH ('connector' = 'filesystem', 'path' = '${OUTPUT}', 'format' = 'json');

INSERT INTO answer
SELECT m.sym, m.first_view, m.buy, m.matched FROM ticks MATCH_RECOGNIZE (
  PARTITION BY sym ORDER BY ts
  MEASURES FIRST(V.id) AS first_view, B.id AS buy, MATCH_ROWTIME() AS matched
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (V+ B)
  DEFINE V AS V.kind = 'view', B AS B.kind = 'buy'
) AS m;
