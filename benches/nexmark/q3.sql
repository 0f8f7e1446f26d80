-- Who sells things of one category in three of the states: a join of all that ever came.
CREATE TABLE answer (name STRING, city STRING, state STRING, id BIGINT) WITH (${SINK:-'connector' = 'blackhole'});

INSERT INTO answer
SELECT p.name, p.city, p.state, a.id
FROM auction AS a JOIN person AS p ON p.id = a.seller
WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA');
