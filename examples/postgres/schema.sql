-- One row with the highest term that ever wrote. Every write goes through it (worker.sh).
CREATE TABLE IF NOT EXISTS fence (id int PRIMARY KEY CHECK (id = 1), term bigint NOT NULL);
INSERT INTO fence VALUES (1, 0) ON CONFLICT DO NOTHING;

-- What the work writes.
CREATE TABLE IF NOT EXISTS result (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, term bigint NOT NULL, pod text NOT NULL, value text NOT NULL
);
