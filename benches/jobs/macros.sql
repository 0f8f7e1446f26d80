-- What several of the jobs' queries use.

-- a / b in units of 1 / `parts`, rounded half away from zero: exactly, where DuckDB's division of decimals
-- gives a double. a and b are whole numbers; NULL if b is nothing.
CREATE MACRO ratio(a, b, parts) AS
  CASE WHEN b <> 0 THEN
    sign(a) * ((2 * abs(a)::HUGEINT * parts + b::HUGEINT) // (2 * b::HUGEINT))
  END;

-- Money as whole cents.
CREATE MACRO cents(amount) AS (100 * amount)::HUGEINT;

-- A quotient as a double; NULL if b is nothing.
CREATE MACRO quotient(a, b) AS a::DOUBLE / nullif(b::DOUBLE, 0);
