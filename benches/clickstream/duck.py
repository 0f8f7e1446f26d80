"""The six queries in DuckDB, in batch: the yardstick, and an independent answer.

duck.py QUERY THREADS INPUT OUTPUT    reads the file INPUT, writes the file OUTPUT
"""

import sys

import duckdb

query, threads, source, target = sys.argv[1:5]

COLUMNS = (
    "{event_id: 'BIGINT', user_id: 'VARCHAR', session_hint: 'INT', event_type: 'VARCHAR', "
    "page: 'VARCHAR', product_id: 'BIGINT', price: 'DOUBLE', ts: 'TIMESTAMP'}"
)
EVENTS = f"read_json('{source}', format = 'newline_delimited', columns = {COLUMNS})"
PANE = "time_bucket(INTERVAL 10 SECOND, ts)"

QUERIES = {
    "A": f"SELECT event_id, user_id, price FROM {EVENTS} WHERE event_type = 'purchase'",
    "B": f"""SELECT epoch_ms({PANE}) AS ws, product_id, count(*) AS n, sum(price) AS s
             FROM {EVENTS} GROUP BY ALL""",
    "C": f"""SELECT epoch_ms(w) AS ws, user_id, sum(n)::BIGINT AS n
             FROM (SELECT user_id, n, unnest(generate_series(
                            pane - INTERVAL 50 SECOND, pane, INTERVAL 10 SECOND)) AS w
                   FROM (SELECT user_id, {PANE} AS pane, count(*) AS n
                         FROM {EVENTS} GROUP BY ALL))
             GROUP BY ALL""",
    "D": f"""SELECT user_id, epoch_ms(min(ts)) AS first, epoch_ms(max(ts)) AS last,
                    count(*) AS n, sum(price) AS s
             FROM (SELECT *, sum(opens) OVER (
                            PARTITION BY user_id ORDER BY ts ROWS UNBOUNDED PRECEDING) AS session
                   FROM (SELECT user_id, ts, price,
                                CASE WHEN ts - lag(ts) OVER (PARTITION BY user_id ORDER BY ts)
                                          <= INTERVAL 30 SECOND THEN 0 ELSE 1 END AS opens
                         FROM {EVENTS}))
             GROUP BY user_id, session""",
    "E": f"""SELECT ws, product_id, n
             FROM (SELECT *, row_number() OVER (
                            PARTITION BY ws ORDER BY n DESC, product_id) AS place
                   FROM (SELECT epoch_ms({PANE}) AS ws, product_id, count(*) AS n
                         FROM {EVENTS} GROUP BY ALL))
             WHERE place <= 10""",
    "F": f"SELECT user_id, count(*) AS n, sum(price) AS s FROM {EVENTS} GROUP BY ALL",
}

connection = duckdb.connect()
connection.execute(f"SET threads = {threads}")
connection.execute("SET TimeZone = 'UTC'")
connection.execute("SET preserve_insertion_order = false")
connection.execute(f"COPY ({QUERIES[query]}) TO '{target}' (FORMAT json)")
