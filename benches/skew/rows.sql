-- ROWS rows out of nothing: `k` is one of a million keys, `p` a percentage. Event time moves on by a
-- second each 100,000 rows.
CREATE TABLE made_up (
  id BIGINT, k BIGINT, p INT, v BIGINT,
  at AS TO_TIMESTAMP_LTZ(id / 100, 3),
  WATERMARK FOR at AS at - INTERVAL '20' SECOND
) WITH (
  'connector' = 'datagen', 'rows-per-second' = '1000000000', 'number-of-rows' = '${ROWS}',
  'fields.id.kind' = 'sequence', 'fields.id.start' = '0', 'fields.id.end' = '1000000000',
  'fields.k.min' = '0', 'fields.k.max' = '999999',
  'fields.p.min' = '0', 'fields.p.max' = '99',
  'fields.v.min' = '0', 'fields.v.max' = '9999'
);

CREATE VIEW hot AS SELECT CASE WHEN p < 90 THEN 0 ELSE k END AS k, v, at FROM made_up;

CREATE TABLE nothing (k BIGINT, n BIGINT, total BIGINT, mean BIGINT, most BIGINT)
WITH ('connector' = 'blackhole');
