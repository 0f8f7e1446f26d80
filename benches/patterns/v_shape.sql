-- Prices that fall and rise again.
CREATE TABLE answer (sym STRING, start_id BIGINT, low INT, end_id BIGINT, ups BIGINT) WITH ('connector' = 'filesystem', 'path' = '${OUTPUT}', 'format' = 'json');

INSERT INTO answer
SELECT * FROM ticks MATCH_RECOGNIZE (
  PARTITION BY sym ORDER BY ts
  MEASURES FIRST(A.id) AS start_id, LAST(DOWN.px) AS low, LAST(UP.id) AS end_id, COUNT(UP.px) AS ups
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A DOWN+ UP+ E)
  DEFINE
    DOWN AS DOWN.px < LAST(DOWN.px, 1) OR (LAST(DOWN.px, 1) IS NULL AND DOWN.px < A.px),
    UP AS UP.px > LAST(UP.px, 1) OR (LAST(UP.px, 1) IS NULL AND UP.px > LAST(DOWN.px)),
    E AS TRUE
) AS m;
