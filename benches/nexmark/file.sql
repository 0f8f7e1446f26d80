-- All events as JSON lines, in the shape of Nexmark's Kafka table, in one file in OUTPUT.
CREATE TABLE file (
  event_type INT,
  person ROW<
    id BIGINT, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING,
    `dateTime` TIMESTAMP(3), extra STRING>,
  auction ROW<
    id BIGINT, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT,
    `dateTime` TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra STRING>,
  bid ROW<
    auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING,
    `dateTime` TIMESTAMP(3), extra STRING>
) WITH (
  'connector' = 'filesystem',
  'path' = '${OUTPUT}',
  'format' = 'json',
  'sink.rolling-policy.file-size' = '1 tb',
  'sink.rolling-policy.rollover-interval' = '100 d',
  'sink.rolling-policy.inactivity-interval' = '100 d'
);

INSERT INTO file SELECT event_type, person, auction, bid FROM events;
