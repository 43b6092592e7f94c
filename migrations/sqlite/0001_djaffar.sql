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
CREATE INDEX IF NOT EXISTS "djaffar_activity_user_date" ON "djaffar_activity" ("user_id", "date") WHERE "user_id" IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS "djaffar_activity_event_id" ON "djaffar_activity" ("event_id") WHERE "event_id" IS NOT NULL;

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
