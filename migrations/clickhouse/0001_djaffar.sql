-- Our tables in ClickHouse, 18.16 and later. What stands in braces depends on the servers:
-- {on}: the suffix of tables that hold a server's own rows (none where there is one server),
-- {activity}, {sessioninfo}, {event}: their engines, {settings}: what newer servers know.
--
-- Moments are microseconds since 1970 in UTC (18.16 has no finer type, none has these years).
-- Blank text and the UUID of zeros mean NULL. stored_at is one moment for all rows of a batch, so
-- that a batch always lies in one partition, and id grows with it: what came last is found without
-- reading the rest. By day and visitor, so that reports read the days that they ask for, and what
-- is alike lies together.
CREATE TABLE IF NOT EXISTS djaffar_activity{on} (
    id Int64,
    stored_at DateTime,
    batch UUID,
    user_id String,
    session_id String,
    visitor String,
    ip_address String,
    date Int64,
    day Date,
    path String,
    referer String,
    received_at Int64,
    event_id UUID,
    name String,
    properties String,
    user_agent String,
    done_at DateTime ALIAS toDateTime(intDiv(date, 1000000))
) ENGINE = {activity} PARTITION BY toYYYYMM(stored_at) ORDER BY (day, visitor, date, id)
SETTINGS index_granularity = 8192{settings};

-- The first browser and visitor of each session: those with the highest version, which is the
-- lower the later it was seen. A row that is written twice changes nothing.
CREATE TABLE IF NOT EXISTS djaffar_sessioninfo{on} (
    session_id String,
    user_agent String,
    visitor String,
    created_at Int64,
    version UInt64
) ENGINE = {sessioninfo} ORDER BY session_id
SETTINGS index_granularity = 1024;

-- The event_ids that are stored, to know them again. A row that is written twice changes nothing. Sixteen
-- bytes, as 18.16 sorts a UUID by its second half: so the ids of one time (UUIDv7) lie together, and those
-- of a batch are looked for in few places, however many are stored.
CREATE TABLE IF NOT EXISTS djaffar_event_id{on} (
    event_id FixedString(16),
    day Date
) ENGINE = {event} PARTITION BY toYYYYMM(day) ORDER BY event_id
SETTINGS index_granularity = 256;
