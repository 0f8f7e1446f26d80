//! The jobs: between them every kind of step that a plan has.

use crate::harness::{Input, check};

/// One test for each job.
macro_rules! jobs {
    ($($name:ident: $input:ident $job:expr;)+) => {
        $(
            #[test]
            fn $name() {
                check($job, Input::$input);
            }
        )+
    };
}

jobs! {
    a_filter_and_a_projection: Files "
        SELECT id, k + 1, UPPER(name), amount * 2 FROM events WHERE v > 10 OR flag";

    tumbling_windows_with_every_plain_aggregate: Files "
        SELECT window_start, window_end, k, COUNT(*), COUNT(v), SUM(v), AVG(v), MIN(name),
               MAX(amount), SUM(amount), AVG(amount), SUM(x), AVG(x)
        FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
        GROUP BY window_start, window_end, k";

    tumbling_windows_with_an_offset: Files "
        SELECT window_start, window_time, COUNT(*), SUM(v)
        FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' MINUTE, INTERVAL '90' SECOND))
        GROUP BY window_start, window_end, window_time";

    hopping_windows_with_distinct_and_filter: Files "
        SELECT window_start, window_end, k, COUNT(DISTINCT name), SUM(DISTINCT v),
               COUNT(*) FILTER (WHERE flag), SUM(v) FILTER (WHERE v > 0)
        FROM TABLE(HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '20' SECOND, INTERVAL '1' MINUTE))
        GROUP BY window_start, window_end, k";

    cumulating_windows: Files "
        SELECT window_start, window_end, name, COUNT(*), MIN(v), MAX(v)
        FROM TABLE(CUMULATE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE))
        GROUP BY window_start, window_end, name";

    sessions: Files "
        SELECT window_start, window_end, k, COUNT(*), SUM(v), MIN(id), MAX(id)
        FROM TABLE(SESSION(TABLE events PARTITION BY k, DESCRIPTOR(ts), INTERVAL '12' SECOND))
        GROUP BY window_start, window_end, k";

    windows_of_instants_in_a_zone_that_skips_an_hour: Files "
        SET 'table.local-time-zone' = 'Europe/Berlin';
        SELECT window_start, window_end, k, COUNT(*), SUM(v)
        FROM TABLE(TUMBLE(TABLE instants, DESCRIPTOR(at), INTERVAL '15' MINUTE))
        GROUP BY window_start, window_end, k";

    windows_of_a_day_in_a_zone: Files "
        SET 'table.local-time-zone' = 'America/New_York';
        SELECT window_start, window_end, COUNT(*)
        FROM TABLE(HOP(TABLE instants, DESCRIPTOR(at), INTERVAL '1' HOUR, INTERVAL '1' DAY))
        GROUP BY window_start, window_end";

    group_windows: Files "
        SELECT k, TUMBLE_START(ts, INTERVAL '2' MINUTE), TUMBLE_END(ts, INTERVAL '2' MINUTE),
               COUNT(*), SUM(v)
        FROM events GROUP BY k, TUMBLE(ts, INTERVAL '2' MINUTE)";

    windows_of_windows: Files "
        CREATE VIEW small AS
          SELECT k, COUNT(*) AS n, SUM(v) AS total, window_time AS wt
          FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '30' SECOND))
          GROUP BY window_start, window_end, window_time, k;
        SELECT window_start, window_end, COUNT(*), SUM(n), MAX(total)
        FROM TABLE(TUMBLE(TABLE small, DESCRIPTOR(wt), INTERVAL '2' MINUTE))
        GROUP BY window_start, window_end";

    window_having: Files "
        SELECT window_start, k, SUM(v) AS total
        FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
        GROUP BY window_start, window_end, k HAVING COUNT(*) > 1 AND SUM(v) > 0";

    an_updating_group_by: Files "
        SELECT k, COUNT(*), COUNT(DISTINCT name), SUM(v), AVG(v), MIN(amount), MAX(x), AVG(amount)
        FROM events GROUP BY k";

    a_global_aggregate: Files "SELECT COUNT(*), SUM(amount), MIN(ts), MAX(name) FROM events";

    deviations: Files "
        SELECT k, VAR_POP(x), VAR_SAMP(x), STDDEV_POP(x), STDDEV_SAMP(v) FROM events GROUP BY k";

    a_group_by_of_a_group_by: Files "
        SELECT n, COUNT(*), SUM(total), MIN(total), MAX(total) FROM (
          SELECT k, name, COUNT(*) AS n, SUM(v) AS total FROM events GROUP BY k, name
        ) AS groups GROUP BY n";

    a_having_over_updates: Files "
        SELECT k, SUM(v) AS total FROM events GROUP BY k HAVING SUM(v) > 50";

    distinct_rows: Files "SELECT DISTINCT k, name FROM events WHERE flag IS NOT NULL";

    values_in_the_order_of_arrival: OneFile "
        SELECT k, FIRST_VALUE(v), LAST_VALUE(name), LISTAGG(name) FROM events GROUP BY k";

    a_ranking: Files "
        SELECT k, id, v FROM (
          SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC, id) AS place FROM events
        ) AS ranked WHERE place <= 3";

    a_ranking_that_shows_its_ranks: Files "
        SELECT place, k, id, v FROM (
          SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v, id DESC) AS place FROM events
        ) AS ranked WHERE place BETWEEN 2 AND 4";

    a_ranking_of_an_aggregate: Files "
        SELECT place, k, total FROM (
          SELECT *, ROW_NUMBER() OVER (ORDER BY total DESC, k) AS place FROM (
            SELECT k, SUM(v) AS total FROM events WHERE k IS NOT NULL GROUP BY k
          ) AS totals
        ) AS ranked WHERE place <= 3";

    a_ranking_per_window: Files "
        SELECT * FROM (
          SELECT *, ROW_NUMBER() OVER (
            PARTITION BY window_start, window_end ORDER BY total DESC, k) AS place
          FROM (
            SELECT window_start, window_end, k, COUNT(*) AS total
            FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
            GROUP BY window_start, window_end, k
          ) AS totals
        ) AS ranked WHERE place <= 2";

    the_first_row_of_each_key: OneFile "
        SELECT k, id, ts FROM (
          SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts) AS place FROM events
        ) AS ranked WHERE place = 1";

    the_last_row_of_each_key: OneFile "
        SELECT k, id, ts FROM (
          SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS place FROM events
        ) AS ranked WHERE place = 1";

    an_inner_join: Files "
        SELECT e.id, o.id, e.k, e.v, o.w FROM events AS e JOIN others AS o
        ON e.k = o.k AND e.v = o.w";

    a_left_join_with_a_residual: Files "
        SELECT e.id, e.k, o.id, o.w FROM events AS e LEFT JOIN others AS o
        ON e.id = o.id AND e.v < o.w";

    a_right_join: Files "
        SELECT e.id, e.name, o.id, o.k FROM events AS e RIGHT JOIN others AS o
        ON e.k = o.k AND e.id = o.id";

    a_full_join_with_a_residual: Files "
        SELECT e.id, o.id, e.v, o.w FROM events AS e FULL JOIN others AS o
        ON e.id = o.id AND e.v <> o.w";

    a_semi_join: Files "SELECT id, v FROM events WHERE v IN (SELECT w FROM others WHERE k > 1)";

    an_anti_join: Files "
        SELECT id, v FROM events AS e
        WHERE NOT EXISTS (SELECT 1 FROM others AS o WHERE o.k = e.k AND o.w = e.v)";

    a_join_of_updates: Files "
        SELECT e.k, e.n, o.m FROM (SELECT k, COUNT(*) AS n FROM events GROUP BY k) AS e
        LEFT JOIN (SELECT k, SUM(w) AS m FROM others GROUP BY k) AS o ON e.k = o.k";

    joins_that_share_what_they_hold: Files "
        SELECT e.id, e.k, o.id, o.w FROM events AS e JOIN others AS o ON e.id = o.id
        UNION ALL
        SELECT e.id, e.k, o.id, o.w FROM events AS e FULL JOIN others AS o ON e.id = o.id";

    joins_one_behind_the_other_that_share_updates: Files "
        WITH e AS (SELECT k, COUNT(*) AS n FROM events GROUP BY k),
             o AS (SELECT k, SUM(w) AS m FROM others GROUP BY k),
             j AS (SELECT e.k, e.n, o.m FROM e JOIN o ON e.k = o.k)
        SELECT j.k, j.n, j.m, o.m FROM j RIGHT JOIN o ON j.k = o.k
        UNION ALL
        SELECT e.k, e.n, o.m, o.m FROM e LEFT JOIN o ON e.k = o.k";

    an_interval_join: Files "
        SELECT e.id, o.id, e.ts, o.ts FROM events AS e, others AS o
        WHERE e.k = o.k AND o.ts BETWEEN e.ts - INTERVAL '10' SECOND AND e.ts + INTERVAL '5' SECOND";

    an_outer_interval_join: Files "
        SELECT e.id, o.id, e.v, o.w FROM events AS e LEFT JOIN others AS o
        ON e.k = o.k AND e.ts BETWEEN o.ts AND o.ts + INTERVAL '15' SECOND AND o.w > 0";

    a_full_interval_join: Files "
        SELECT e.id, o.id FROM events AS e FULL JOIN others AS o
        ON e.k = o.k AND e.ts BETWEEN o.ts - INTERVAL '4' SECOND AND o.ts + INTERVAL '4' SECOND";

    a_window_join: Files "
        SELECT e.id, o.id, e.k, e.window_start FROM
          (SELECT * FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '30' SECOND))) AS e
        FULL JOIN
          (SELECT * FROM TABLE(TUMBLE(TABLE others, DESCRIPTOR(ts), INTERVAL '30' SECOND))) AS o
        ON e.k = o.k AND e.window_start = o.window_start AND e.window_end = o.window_end";

    over_a_number_of_rows: OneFile "
        SELECT id, k, COUNT(*) OVER w, SUM(v) OVER w, MIN(name) OVER w, MAX(v) OVER w, AVG(v) OVER w
        FROM events
        WINDOW w AS (PARTITION BY k ORDER BY ts ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)";

    over_all_rows_before: OneFile "
        SELECT id, SUM(amount) OVER w, COUNT(name) OVER w FROM events
        WINDOW w AS (PARTITION BY name ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)";

    over_a_stretch_of_time: Files "
        SELECT id, k, COUNT(*) OVER w, SUM(v) OVER w, MIN(v) OVER w, MAX(x) OVER w FROM events
        WINDOW w AS (PARTITION BY k ORDER BY ts
                     RANGE BETWEEN INTERVAL '20' SECOND PRECEDING AND CURRENT ROW)";

    a_lag: OneFile "
        SELECT id, k, LAG(v, 1) OVER w, LAG(id, 2) OVER w FROM events
        WINDOW w AS (PARTITION BY k ORDER BY ts)";

    a_lead: OneFile "
        SELECT id, k, LEAD(v, 2, -1) OVER w, LAG(id) OVER w, SUM(v) OVER w, LEAD(name) OVER w
        FROM events
        WINDOW w AS (PARTITION BY k ORDER BY ts ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)";

    ranks_in_the_order_of_time: OneFile "
        SELECT id, k, RANK() OVER w, DENSE_RANK() OVER w FROM events
        WINDOW w AS (PARTITION BY k ORDER BY ts)";

    falls_and_what_ends_them: Files "
        SELECT * FROM events MATCH_RECOGNIZE (
          PARTITION BY k ORDER BY ts, id
          MEASURES FIRST(TOP.id) AS began, LAST(DOWN.v) AS low, UP.id AS ended, COUNT(DOWN.v) AS n,
                   AVG(DOWN.amount) AS amount, SUM(x) AS x, MAX(name) AS name, MATCH_ROWTIME() AS mt
          ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW PATTERN (TOP DOWN+ UP)
          DEFINE DOWN AS DOWN.v < LAST(DOWN.v, 1) OR (LAST(DOWN.v, 1) IS NULL AND DOWN.v < TOP.v),
                 UP AS UP.v > LAST(DOWN.v))";

    overlapping_matches_within_a_time: Files "
        SELECT * FROM events MATCH_RECOGNIZE (
          PARTITION BY name ORDER BY ts, id
          MEASURES A.id AS a, C.id AS c, COUNT(B.id) AS n, MATCH_ROWTIME() AS mt
          ONE ROW PER MATCH AFTER MATCH SKIP TO NEXT ROW
          PATTERN (A B*? C) WITHIN INTERVAL '30' SECOND
          DEFINE A AS A.flag, B AS COUNT(B.id) <= 5 AND SUM(B.id) > FIRST(A.id),
                 C AS C.v > A.v AND C.amount >= A.amount)";

    matches_that_begin_where_others_end: OneFile "
        SELECT * FROM events MATCH_RECOGNIZE (
          PARTITION BY k ORDER BY ts
          MEASURES FIRST(id) AS a, LAST(id) AS c, LAST(B.v, 1) AS before, C.x - FIRST(x) AS dx
          AFTER MATCH SKIP TO LAST C PATTERN (A B? C)
          DEFINE B AS B.v > A.v, C AS C.v >= A.v)";

    groups_and_alternatives: Files "
        SELECT * FROM events MATCH_RECOGNIZE (
          ORDER BY ts, id
          MEASURES A.id AS a, COUNT(B.*) AS bs, COUNT(C.*) AS cs, D.id AS d, LAST(id) AS z
          AFTER MATCH SKIP PAST LAST ROW PATTERN (A (B C){1,3} (D | E E))
          DEFINE A AS A.flag, B AS B.v IS NOT NULL, C AS C.k < 4, D AS D.v < 0, E AS E.k > 1)";

    conditions_over_every_type: Files "
        SELECT * FROM events MATCH_RECOGNIZE (
          PARTITION BY k ORDER BY ts, id
          MEASURES A.id AS a, B.id AS b, C.id AS c, D.id AS d
          AFTER MATCH SKIP TO NEXT ROW PATTERN (A B+? C* D)
          DEFINE B AS B.name >= A.name OR B.x < A.x OR NOT (B.flag = A.flag),
                 C AS C.ts < LAST(B.ts) + INTERVAL '30' SECOND AND C.amount <> LAST(C.amount, 1),
                 D AS D.v - A.v > 2 * D.v OR FIRST(B.x, 1) > D.x OR LAST(B.name) < D.name
                   OR CHAR_LENGTH(D.name) > CHAR_LENGTH(A.name) OR AVG(C.id) < B.id)";

    the_number_of_matches: Files "
        SELECT COUNT(*) FROM events MATCH_RECOGNIZE (
          ORDER BY ts, id MEASURES 1 AS one
          AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE A AS A.flag, B AS NOT B.flag)";

    windows_of_matches: Files "
        CREATE VIEW found AS SELECT * FROM events MATCH_RECOGNIZE (
          PARTITION BY k ORDER BY ts, id
          MEASURES A.v AS v, MATCH_ROWTIME() AS mt
          AFTER MATCH SKIP TO NEXT ROW PATTERN (A B+ C) WITHIN INTERVAL '40' SECOND
          DEFINE B AS B.v <= A.v, C AS C.v > A.v);
        SELECT window_start, k, COUNT(*), SUM(v)
        FROM TABLE(TUMBLE(TABLE found, DESCRIPTOR(mt), INTERVAL '1' MINUTE))
        GROUP BY window_start, window_end, k";

    a_union: Files "
        SELECT id, k, v FROM events WHERE v > 0 UNION ALL SELECT id, k, CAST(w AS INT) FROM others";

    a_union_of_sets: Files "SELECT k, v FROM events UNION SELECT k, CAST(w AS INT) FROM others";

    an_intersection: Files "
        SELECT k, v FROM events INTERSECT SELECT k, CAST(w AS INT) FROM others";

    an_exception: Files "SELECT k, v FROM events EXCEPT SELECT k, CAST(w AS INT) FROM others";

    a_changelog_as_it_is: Files "SELECT id, k, v * 2 FROM changes WHERE v > 0";

    a_group_by_of_a_changelog: Files "
        SELECT k, COUNT(*), SUM(v), MIN(v), MAX(v), AVG(v), COUNT(DISTINCT v) FROM changes GROUP BY k";

    a_ranking_of_a_changelog: Files "
        SELECT place, k, id, v FROM (
          SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC, id) AS place FROM changes
        ) AS ranked WHERE place <= 3";

    a_join_with_a_changelog: Files "
        SELECT e.id, c.id, e.v, c.v FROM events AS e FULL JOIN changes AS c
        ON e.k = c.k AND e.v = c.v";

    an_anti_join_with_a_changelog: Files "
        SELECT id, v FROM changes WHERE v NOT IN (SELECT v FROM events WHERE v IS NOT NULL)
        AND v IS NOT NULL";

    a_table_by_key: Files "
        CREATE TABLE totals (k BIGINT, n BIGINT, total INT, PRIMARY KEY (k) NOT ENFORCED)
        WITH ('connector' = 'upsert-kafka', 'topic' = 'totals', 'key.format' = 'json',
              'value.format' = 'json', 'properties.bootstrap.servers' = 'localhost:1');
        INSERT INTO totals SELECT k, COUNT(*), SUM(v) FROM changes WHERE k IS NOT NULL GROUP BY k";

    a_table_by_what_its_groups_give: Files "
        CREATE TABLE latest (id BIGINT, k BIGINT, PRIMARY KEY (id) NOT ENFORCED)
        WITH ('connector' = 'upsert-kafka', 'topic' = 'latest', 'key.format' = 'json',
              'value.format' = 'json', 'properties.bootstrap.servers' = 'localhost:1');
        INSERT INTO latest SELECT MAX(id), k FROM events GROUP BY k";

    a_table_by_the_items_of_what_groups_give: Files "
        CREATE TABLE ends (k BIGINT, item BIGINT, PRIMARY KEY (k, item) NOT ENFORCED)
        WITH ('connector' = 'upsert-kafka', 'topic' = 'ends', 'key.format' = 'json',
              'value.format' = 'json', 'properties.bootstrap.servers' = 'localhost:1');
        INSERT INTO ends SELECT k, item FROM (
          SELECT k, MIN(id) AS a, -1 - MAX(id) AS b FROM events WHERE k IS NOT NULL GROUP BY k)
        CROSS JOIN UNNEST(ARRAY[a, b]) AS t (item)";

    two_results_of_one_session: Files "
        CREATE TABLE by_key (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED)
        WITH ('connector' = 'upsert-kafka', 'topic' = 'a', 'key.format' = 'json',
              'value.format' = 'json', 'properties.bootstrap.servers' = 'localhost:1');
        CREATE TABLE by_number (n BIGINT, k BIGINT, PRIMARY KEY (n) NOT ENFORCED)
        WITH ('connector' = 'upsert-kafka', 'topic' = 'b', 'key.format' = 'json',
              'value.format' = 'json', 'properties.bootstrap.servers' = 'localhost:1');
        CREATE VIEW counted AS SELECT k, COUNT(*) AS n FROM events WHERE k IS NOT NULL GROUP BY k;
        EXECUTE STATEMENT SET BEGIN
        INSERT INTO by_key SELECT k, n FROM counted;
        INSERT INTO by_number SELECT n, COUNT(*) FROM counted GROUP BY n;
        END;";

    items_of_arrays: Files "
        SELECT id, item FROM events CROSS JOIN UNNEST(ARRAY[v, v + 1]) AS t (item) WHERE item > 0";

    more_than_a_scalar_query: Files "
        SELECT id, v FROM events WHERE v > (SELECT AVG(w) FROM others)";

    a_join_of_three: Files "
        SELECT e.id, o.id, c.id FROM events AS e JOIN others AS o ON e.id = o.id
        LEFT JOIN changes AS c ON o.k = c.k AND c.v > o.w";

    all_of_an_intersection: Files "
        SELECT k, v FROM events INTERSECT ALL SELECT k, CAST(w AS INT) FROM others";

    all_of_an_exception: Files "SELECT k FROM events EXCEPT ALL SELECT k FROM others";

    a_rollup: Files "
        SELECT k, name, COUNT(*), SUM(v) FROM events GROUP BY ROLLUP (k, name)";

    sessions_of_instants_in_a_zone: Files "
        SET 'table.local-time-zone' = 'Europe/Berlin';
        SELECT window_start, window_end, k, COUNT(*)
        FROM TABLE(SESSION(TABLE instants PARTITION BY k, DESCRIPTOR(at), INTERVAL '30' SECOND))
        GROUP BY window_start, window_end, k";

    windows_of_sessions: Files "
        CREATE VIEW visits AS
          SELECT k, COUNT(*) AS n, window_time AS wt
          FROM TABLE(SESSION(TABLE events PARTITION BY k, DESCRIPTOR(ts), INTERVAL '9' SECOND))
          GROUP BY window_start, window_end, window_time, k;
        SELECT window_start, COUNT(*), SUM(n)
        FROM TABLE(TUMBLE(TABLE visits, DESCRIPTOR(wt), INTERVAL '1' MINUTE))
        GROUP BY window_start, window_end";

    windows_of_pairs: Files "
        CREATE VIEW pairs AS
          SELECT e.k, e.ts AS ts, o.w FROM events AS e, others AS o
          WHERE e.k = o.k AND o.ts BETWEEN e.ts AND e.ts + INTERVAL '20' SECOND;
        SELECT window_start, k, COUNT(*), SUM(w)
        FROM TABLE(TUMBLE(TABLE pairs, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
        GROUP BY window_start, window_end, k";

    windows_of_a_changelog: Files "
        SELECT window_start, k, COUNT(*), SUM(v), MAX(v)
        FROM TABLE(TUMBLE(TABLE timed_changes, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
        GROUP BY window_start, window_end, k";

    the_top_rows_of_a_window: Files "
        SELECT window_start, k, id, v FROM (
          SELECT *, ROW_NUMBER() OVER (
            PARTITION BY window_start, window_end, k ORDER BY v DESC, id) AS place
          FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
        ) AS ranked WHERE place <= 2";

    groups_that_were_not_seen_for_a_while: Files "
        SELECT * FROM (
          SELECT k, MAX(ts) AS last_seen, COUNT(*) AS n FROM events GROUP BY k
        ) AS seen WHERE last_seen < CURRENT_WATERMARK(last_seen) - INTERVAL '20' SECOND";

    rows_of_the_last_minute_and_those_before: Files "
        SELECT k, id, v FROM events WHERE ts > CURRENT_WATERMARK(ts) - INTERVAL '1' MINUTE
        UNION ALL
        SELECT k, id, v FROM events WHERE ts <= CURRENT_WATERMARK(ts) - INTERVAL '1' MINUTE AND v > 0";

    counts_of_the_last_minute: Files "
        SELECT o.id, o.k, recent.n FROM others AS o LEFT JOIN (
          SELECT k, COUNT(*) AS n FROM events
          WHERE ts BETWEEN CURRENT_WATERMARK(ts) - INTERVAL '1' MINUTE AND CURRENT_WATERMARK(ts)
          GROUP BY k
        ) AS recent ON o.k = recent.k";

    tumbling_windows_with_late_rows: Late "
        SELECT window_start, k, COUNT(*), SUM(v)
        FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND))
        GROUP BY window_start, window_end, k";

    hopping_windows_with_rows_that_are_late_for_some: Late "
        SELECT window_start, k, COUNT(*), SUM(v)
        FROM TABLE(HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '20' SECOND))
        GROUP BY window_start, window_end, k";

    cumulating_windows_with_rows_that_are_late_for_some: Late "
        SELECT window_start, window_end, k, COUNT(*), SUM(v)
        FROM TABLE(CUMULATE(TABLE events, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '1' MINUTE))
        GROUP BY window_start, window_end, k";

    a_window_join_with_late_rows: Late "
        SELECT e.id, o.id, e.k, e.window_start FROM
          (SELECT * FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND))) AS e
        LEFT JOIN
          (SELECT * FROM TABLE(TUMBLE(TABLE others, DESCRIPTOR(ts), INTERVAL '10' SECOND))) AS o
        ON e.k = o.k AND e.window_start = o.window_start AND e.window_end = o.window_end";

    matches_with_late_rows: Late "
        SELECT * FROM events MATCH_RECOGNIZE (
          PARTITION BY k ORDER BY ts, id
          MEASURES A.id AS a, B.id AS b
          AFTER MATCH SKIP TO NEXT ROW PATTERN (A B) DEFINE B AS B.v > A.v)";

    over_a_stretch_of_time_with_late_rows: Late "
        SELECT id, COUNT(*) OVER w, SUM(v) OVER w FROM events
        WINDOW w AS (PARTITION BY k ORDER BY ts
                     RANGE BETWEEN INTERVAL '20' SECOND PRECEDING AND CURRENT ROW)";
}
