-- Inventory: see jobs/inventory/README.md.

CREATE TABLE pos_transactions (
  store_id VARCHAR, receipt_id BIGINT,
  lines STRUCT(item_id VARCHAR, quantity BIGINT, unit_price DECIMAL(10, 2))[],
  ts TIMESTAMP
);
COMMENT ON TABLE pos_transactions IS 'input';

CREATE TABLE stock_movements (
  movement_id BIGINT, kind VARCHAR, store_id VARCHAR, other_store_id VARCHAR, item_id VARCHAR, quantity BIGINT,
  ts TIMESTAMP
);
COMMENT ON TABLE stock_movements IS 'input';

CREATE TABLE items (item_id VARCHAR PRIMARY KEY, name VARCHAR, reorder_point BIGINT);
COMMENT ON TABLE items IS 'input, changelog';

-- Lines of receipts that came when their hour was over. Positions count them.
CREATE TABLE late_lines (
  store_id VARCHAR, opens_receipt BOOLEAN, quantity BIGINT, amount DECIMAL(38, 2), ts TIMESTAMP
);
COMMENT ON TABLE late_lines IS 'late for window aggregate';

CREATE VIEW lines AS
SELECT store_id, receipt_id, ts, generate_subscripts(lines, 1) AS line, unnest(lines, max_depth := 2)
FROM pos_transactions;

-- What was sold, as stock: each receipt and each movement once.
CREATE VIEW changes AS
SELECT DISTINCT ON (store_id, receipt_id, line) store_id, item_id, -quantity AS change
FROM lines
UNION ALL
SELECT * FROM (SELECT DISTINCT ON (movement_id) store_id, item_id, quantity FROM stock_movements);

CREATE VIEW stock_positions AS
SELECT store_id, item_id, sum(change)::BIGINT AS on_hand
FROM changes
GROUP BY ALL;
COMMENT ON VIEW stock_positions IS 'result, latest of each key';

CREATE VIEW reorder_alerts AS
SELECT store_id, item_id, name
FROM stock_positions JOIN items USING (item_id)
WHERE on_hand < reorder_point;
COMMENT ON VIEW reorder_alerts IS 'result, latest of each key';

CREATE VIEW negative_stock AS
FROM stock_positions WHERE on_hand < 0;
COMMENT ON VIEW negative_stock IS 'result, latest of each key';

CREATE VIEW sales_by_store_hour AS
SELECT date_trunc('hour', ts) AS window_start, store_id, count(*) FILTER (opens_receipt) AS receipts,
       sum(quantity)::BIGINT AS pieces, sum(amount)::DECIMAL(38, 2) AS revenue
FROM (
  SELECT store_id, line = 1 AS opens_receipt, quantity, (quantity * unit_price)::DECIMAL(38, 2) AS amount, ts
  FROM (SELECT DISTINCT ON (store_id, receipt_id, line) * FROM lines)
  EXCEPT ALL
  SELECT store_id, opens_receipt, quantity, amount, ts FROM late_lines
)
GROUP BY ALL;
COMMENT ON VIEW sales_by_store_hour IS 'result';
