-- Our tables, in the types that Django gives such models on SQLite. {user_id} becomes the type of
-- the user table's key. There are no foreign keys: history outlives sessions and users.
CREATE TABLE IF NOT EXISTS "djaffar_activity" (
    "id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "user_id" {user_id} NULL,
    "session_id" varchar(40) NULL,
    "ip_address" varchar(45) NOT NULL,
    "date" datetime NOT NULL,
    "path" varchar(2000) NOT NULL,
    "referer" varchar(2000) NOT NULL,
    "received_at" datetime NULL,
    "event_id" char(32) NULL,
    "name" varchar(100) NOT NULL,
    "properties" text NULL CHECK ((JSON_VALID("properties") OR "properties" IS NULL))
);
CREATE INDEX IF NOT EXISTS "djaffar_activity_date" ON "djaffar_activity" ("date");
-- Users and sessions come in at random. So that a batch changes few pages of their indexes however
-- large the table is, each 65,536 rows have a part of the index to themselves: a look-up seeks once
-- in each part ("skip-scan"), 306 times in 20 million rows.
CREATE INDEX IF NOT EXISTS "djaffar_activity_user" ON "djaffar_activity" (("id" >> 16), "user_id") WHERE "user_id" IS NOT NULL;
CREATE INDEX IF NOT EXISTS "djaffar_activity_session" ON "djaffar_activity" (("id" >> 16), "session_id") WHERE "session_id" IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS "djaffar_activity_event_id" ON "djaffar_activity" ("event_id") WHERE "event_id" IS NOT NULL;
-- SQLite does that only where it knows how many rows share a value, which it would have to ANALYZE
-- the full table for: this makes the table of its statistics.
ANALYZE "djaffar_activity";
DELETE FROM "sqlite_stat1" WHERE "tbl" = 'djaffar_activity';
INSERT INTO "sqlite_stat1" ("tbl", "idx", "stat") VALUES
    ('djaffar_activity', 'djaffar_activity_date', '1000000 1'),
    ('djaffar_activity', 'djaffar_activity_user', '1000000 65536 20'),
    ('djaffar_activity', 'djaffar_activity_session', '1000000 65536 5'),
    ('djaffar_activity', 'djaffar_activity_event_id', '1000000 1');

CREATE TABLE IF NOT EXISTS "djaffar_sessioninfo" (
    "session_id" varchar(40) NOT NULL PRIMARY KEY,
    "user_agent" varchar(1000) NOT NULL,
    "visitor" varchar(40) NOT NULL,
    "browser" varchar(50) NULL,
    "os" varchar(50) NULL,
    "device" varchar(50) NULL,
    "bot" bool NULL,
    "country" varchar(2) NULL,
    "created_at" datetime NULL
);

-- How far each segment of a spool is stored; written in the transaction of the rows.
CREATE TABLE IF NOT EXISTS "djaffar_spool_cursor" (
    "spool" char(32) NOT NULL,
    "segment" char(32) NOT NULL,
    "position" bigint NOT NULL,
    PRIMARY KEY ("spool", "segment")
);
